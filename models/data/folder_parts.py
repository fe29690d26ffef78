"""The parts and the classes of a folder, by the names of the folders in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekiln.models.data.limits import check_name
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.images import IMAGE_SUFFIXES
from edgekiln.runtime.waves import WAVE_SUFFIX

# What the folder of a part may be called, in upper or lower case.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation"),
}
# What may stand beside that: `training_set`, `seg_train`, `train_images`; and years.
_BESIDE = ("seg", "images", "image", "imgs", "img", "data", "split")


@dataclass(frozen=True)
class FolderParts:
    """The folder of each part; "train" is always there."""

    folders: Mapping[str, Path]
    notes: tuple[str, ...] = ()


def classes_of(parts: FolderParts, kind: str) -> tuple[str, ...]:
    """The classes of the training part, by the names of its folders.

    Args:
        kind: what the folders hold, in the plural.

    Raises:
        InputError: there are none, or another part has one that is not trained.
    """
    folders = parts.folders
    classes = _classes(folders["train"])
    for name in folders.keys() - {"train"}:
        # A class that is not trained can be tested in one way only: wrong.
        if unknown := set(_classes(folders[name])) - set(classes):
            raise InputError(
                f"{folders[name]}: class {', '.join(sorted(unknown))} is in the {name} part only",
                hint=f"add training {kind} of it to {folders['train']}",
            )
    return classes


def parts_of(path: Path) -> FolderParts:
    """Find the parts' folders; without one for training, the classes lie in `path` itself."""
    inside = _folders(path)
    found = {part: [each for each in inside if _part_of(each) == part] for part in _NAMES}
    for part, folders in found.items():
        if len(folders) > 1:
            names = " and ".join(each.name for each in folders)
            raise InputError(
                f"{path}: {names} are both the {part} part",
                hint="keep one of them, or put them together",
            )
    folder = {part: _unwrapped(each[0], part) for part, each in found.items() if each}
    if "train" not in folder:
        # A class may be called "test"; then there are others, and it holds images, not folders.
        nested = any(_folders(each) for each in folder.values())
        if folder and (len(folder) == len(inside) or nested):
            names = " and ".join(each.name for each in folder.values())
            raise InputError(
                f"{path}: {names} without a train part",
                hint=f"name the folder with the training images {path / 'train'}",
            )
        _check_classes(path, inside)
        return FolderParts({"train": path})
    notes = []
    if "val" in folder and "test" not in folder:
        folder["test"] = folder.pop("val")
        notes.append(f"{folder['test'].name} is the test part: there is no folder test")
    used = {each for folders in found.values() for each in folders}
    if others := [each.name for each in inside if each not in used]:
        notes.append(f"folders beside {folder['train'].name} left out: {', '.join(others)}")
    return FolderParts(folder, tuple(notes))


def _part_of(folder: Path) -> str:
    """The part that a folder is by its name; "" where it is none.

    More than the plain name, such as `training_set`, `seg_train` or `val2017`, could be a class's:
    only of folders that hold folders it is taken for a part's.
    """
    plain = folder.name.lower()
    found = (word.removesuffix("set") for word in re.findall("[a-z]+", plain))
    words = [word for word in found if word and word not in _BESIDE]
    for part, names in _NAMES.items():
        if plain in names or (
            len(words) == 1 and words[0] in names and _holds_folders_alone(folder)
        ):
            return part
    return ""


def _unwrapped(folder: Path, part: str) -> Path:
    """Where archives were unpacked into folders of their names: `seg_train/seg_train/cat/`."""
    inside = _folders(folder)
    return inside[0] if len(inside) == 1 and _part_of(inside[0]) == part else folder


def _check_classes(path: Path, inside: list[Path]) -> None:
    """Refuse folders of folders as classes: they are parts by names that nobody knows."""
    if nested := [each.name for each in inside if _holds_folders_alone(each)]:
        raise InputError(
            f"{path}: {', '.join(nested[:3])} holds folders and no files: a part, or a class?",
            hint="name parts train, test and val, each with one folder a class; the files of a "
            "class lie in its folder itself",
        )


def _holds_folders_alone(folder: Path) -> bool:
    files = (each for each in folder.iterdir() if not each.name.startswith("."))
    media = any(each.suffix.lower() in (*IMAGE_SUFFIXES, WAVE_SUFFIX) for each in files)
    return not media and bool(_folders(folder))


def _folders(path: Path) -> list[Path]:
    """The folders in `path`, sorted, but for hidden ones."""
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _classes(folder: Path) -> tuple[str, ...]:
    names = tuple(each.name for each in _folders(folder))
    for name in names:
        check_name(str(folder / name))
    if not names:
        raise InputError(
            f"{folder}: no class folders in it", hint="one folder a class: photos/cat/1.png"
        )
    return names
