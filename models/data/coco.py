"""Pictures with COCO's annotations, https://cocodataset.org/#format-data: boxes to be detected, or,
with the task `segmentation`, the polygons of their shapes as masks. The JSON lies beside the
pictures: `photos/annotations.json`, `photos/train/_annotations.coco.json`, or
`photos/annotations/instances_train.json` with the pictures in `photos/train/`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.dataset import Split, UnsplitData
from edgekiln.models.data.image_folder import common_size
from edgekiln.models.data.limits import DATA, check_pixels
from edgekiln.models.data.options import Options
from edgekiln.models.tasks.detection import NOTHING
from edgekiln.models.tasks.heads import heads_of
from edgekiln.models.tasks.segmentation import Segmentation
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.images import CHANNELS, read_image
from edgekiln.runtime.limits import read_file

if TYPE_CHECKING:
    from edgekiln.models.tasks.task import Array

# Roboflow writes `valid`, and names its file `_annotations.coco.json`; Label Studio `result.json`.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "train": ("train",), "val": ("valid", "val"), "test": ("test",),
}  # fmt: skip
Entry = Mapping[str, Any]  # JSON of anybody's
_WHOLE = ("annotations.json", "_annotations.coco.json", "result.json")


def fits(path: Path) -> bool:
    """Whether there are COCO's annotations in a folder."""
    return path.is_dir() and bool(_files(path))


def read(path: Path, options: Options) -> UnsplitData:
    """Pictures in the size and color of the options, and boxes (N, most, 5): class, then center,
    width and height as shares of the picture; or masks (N, H, W) of class indices, 0 where nothing
    is.

    Raises:
        InputError: damaged annotations, a picture that is missing, or pictures of several sizes
            without the option `size`.
    """
    found = {part: _read_json(file) for part, file in _files(path).items()}
    parts = {part: _Part.of(path, part, file, found[part]) for part, file in _files(path).items()}
    names = parts["train" if "train" in parts else next(iter(parts))].names
    pictures = [file for part in parts.values() for file in part.pictures]
    size = options.size or common_size(pictures)
    color = options.color or "RGB"
    check_pixels(str(path), len(pictures), size, CHANNELS[color])
    masks = bool(options.task) and isinstance(heads_of(options.task)[0].task, Segmentation)
    splits = {part: each.split(size, color, names, options, masks) for part, each in parts.items()}
    if "train" not in splits:
        raise InputError(f"{path}: has no training part", hint="add train/_annotations.coco.json")
    return UnsplitData(
        classes=("nothing", *names) if masks else names,
        train=splits["train"],
        test=splits.get("test"),
        val=splits.get("val"),
        task="segmentation" if masks else "detection",
    )


def _files(path: Path) -> dict[str, Path]:
    """The annotations of each part; those of a folder without parts are "train"."""
    for name in _WHOLE:
        if (path / name).is_file():
            return {"train": path / name}
    found: dict[str, Path] = {}
    for part, names in _PARTS.items():
        for name in names:
            inside = [path / name / each for each in _WHOLE if (path / name / each).is_file()]
            beside = sorted((path / "annotations").glob(f"instances_{name}*.json"))
            if (hits := inside or beside) and part not in found:
                found[part] = hits[0]
    return found


def _read_json(file: Path) -> Entry:
    raw = read_file(file, DATA, hint="annotations are JSON")
    try:
        content = json.loads(raw)
        for key in ("images", "annotations", "categories"):
            if not all(isinstance(each, dict) for each in content[key]):
                raise TypeError(f"{key} hold something else")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{file}: is no COCO annotation: {type(error).__name__} {error}".rstrip(),
            hint="it holds images, annotations and categories, each a list of objects",
        ) from error
    found: Entry = content
    return found


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One file of annotations, in the order of its pictures."""

    file: Path
    names: tuple[str, ...]  # of the categories, in the order of their ids
    pictures: tuple[Path, ...]
    sizes: tuple[tuple[float, float], ...]  # width and height, as annotated
    of_picture: tuple[tuple[Entry, ...], ...]

    @classmethod
    def of(
        cls,
        path: Path,
        part: str,
        file: Path,
        content: Entry,
    ) -> "_Part":
        """Look up every picture."""
        try:
            categories = sorted(content["categories"], key=lambda each: int(each["id"]))
            # COCO's ids have gaps (80 categories up to 90), a network's classes have none.
            index = {int(each["id"]): place for place, each in enumerate(categories)}
            by_picture: dict[int, list[Entry]] = {}
            for each in content["annotations"]:
                known = {**each, "class": index[int(each["category_id"])]}
                by_picture.setdefault(int(each["image_id"]), []).append(known)
            images = content["images"]
            return cls(
                file=file,
                names=tuple(str(each["name"]) for each in categories),
                pictures=tuple(_picture(path, part, file, str(i["file_name"])) for i in images),
                sizes=tuple((_extent(i["width"]), _extent(i["height"])) for i in images),
                of_picture=tuple(tuple(by_picture.get(int(i["id"]), ())) for i in images),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{file}: an entry lacks or misuses {error}",
                hint="see https://cocodataset.org/#format-data",
            ) from error

    def split(
        self,
        size: tuple[int, int],
        color: str,
        names: tuple[str, ...],
        options: Options,
        masks: bool,
    ) -> Split:
        """Read the pictures and bring their annotations into the form of the task."""
        if self.names != names:
            raise InputError(
                f"{self.file}: has other categories than the training part",
                hint=f"these are {', '.join(names)}",
            )
        count = len(self.pictures[: options.limit])
        x = np.empty((count, *size, CHANNELS[color]), np.uint8)
        for place, pixels in enumerate(x):
            pixels[...] = read_image(self.pictures[place], *size, color)
        y: Array = self._masks(count, size) if masks else self._boxes(count)
        return Split.of(x=x, y=y)

    def _boxes(self, count: int) -> NDArray[np.float32]:
        most = max(1, *(len(each) for each in self.of_picture[:count]), 1)
        boxes = np.full((count, most, 5), NOTHING, np.float32)
        for place in range(count):
            width, height = self.sizes[place]
            for row, each in zip(boxes[place], self.of_picture[place], strict=False):
                left, top, w, h = self._numbers(each, "bbox", 4)
                # As shares they hold for a resized picture; some are drawn beyond its edge.
                low = np.clip([left / width, top / height], 0, 1)
                high = np.clip([(left + w) / width, (top + h) / height], 0, 1)
                row[...] = [each["class"], *(low + high) / 2, *(high - low)]
        return boxes

    def _masks(self, count: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        from PIL import Image, ImageDraw

        masks = np.zeros((count, *size), np.uint8)
        for place in range(count):
            width, height = self.sizes[place]
            # Pillow has the width first.
            canvas = Image.new("L", (size[1], size[0]), 0)
            scale = np.array([size[1] / width, size[0] / height])
            for each in self.of_picture[place]:
                shapes = each.get("segmentation")
                if not isinstance(shapes, list):
                    raise InputError(
                        f"{self.file}: annotation {each.get('id')} has no polygons",
                        hint="give shapes as polygons, or masks as pictures: images/ and masks/",
                    )
                for shape in shapes:
                    points = self._points(each, shape) * scale
                    # Where shapes overlap the later one is seen; 0 is what is no shape.
                    ImageDraw.Draw(canvas).polygon(
                        [(float(px), float(py)) for px, py in points], fill=1 + int(each["class"])
                    )
            masks[place] = np.asarray(canvas)
        return masks

    def _points(self, each: Entry, shape: object) -> NDArray[np.float64]:
        try:
            points = np.array(shape, np.float64).reshape(-1, 2)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{self.file}: annotation {each.get('id')}: segmentation: {error}",
                hint="a polygon is [x, y, x, y, …] in pixels",
            ) from error
        if len(points) < 2 or not np.isfinite(points).all():
            raise InputError(
                f"{self.file}: annotation {each.get('id')} has a polygon of {len(points)} points",
                hint="a polygon is [x, y, x, y, …] in pixels",
            )
        return points

    def _numbers(self, each: Entry, key: str, count: int) -> Sequence[float]:
        values = each.get(key)
        if not isinstance(values, list) or len(values) != count:
            raise InputError(
                f"{self.file}: annotation {each.get('id')} has no {key} of {count} numbers",
                hint="COCO's are [left, top, width, height] in pixels",
            )
        try:
            return [float(value) for value in values]
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{self.file}: annotation {each.get('id')}: {key}: {error}", "give numbers"
            ) from error


def _extent(value: object) -> float:
    """Width or height in pixels. Raises ValueError."""
    number = float(str(value))
    if not 0 < number < float("inf"):
        raise ValueError(f"a size of {value}")
    return number


def _picture(path: Path, part: str, file: Path, name: str) -> Path:
    """Where a picture lies: beside its annotations, or in a folder `images` or of the part's."""
    # Annotations may be of anybody: no name leads out of the data set.
    plain = Path(name)
    if plain.is_absolute() or ".." in plain.parts:
        raise InputError(f"{file}: names {name}, which lies elsewhere", "give names of files here")
    homes = [file.parent, file.parent / "images", path, path / "images"]
    homes += [path / each for each in _PARTS[part]] + sorted(path.glob(f"{part}*/"))
    for home in homes:
        if (home / plain).is_file():
            return home / plain
    raise InputError(f"{file}: {name} is nowhere beside it", hint="are all pictures there?")
