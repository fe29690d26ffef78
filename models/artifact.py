"""Module artifacts: a factory's name, its arguments and plain tensors, in one file without code."""

import io
import os
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekiln.models import spec, widths, zoo
from edgekiln.models.checkpoint import tensors_in
from edgekiln.models.data.dataset import Dataset, Task
from edgekiln.models.interface import one_output
from edgekiln.models.spec import Value
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.manifest import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = 1

_OLD_FORMAT = b"\x80"  # how a pickle begins: torch.save wrote no zip files before version 1.6


@dataclass(frozen=True, kw_only=True)
class ModuleMeta:
    """Everything about a module but its tensors. `history` holds JSON values only."""

    factory: str
    kwargs: Mapping[str, Value] = field(default_factory=dict)
    input_shape: tuple[int, ...]  # one sample as the module takes it, without the batch axis
    data: str
    task: Task = "classification"
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    classes: tuple[str, ...] = ()
    history: Mapping[str, Any] = field(default_factory=dict)


def create(
    path: Path, model: str, dataset: Dataset, data: str, *, seed: int, **kwargs: Value
) -> ModuleMeta:
    """Write the artifact a build starts from: seeded initial weights, shaped to the data set.

    Where the factory has a parameter `classes`, `in_channels`, `image_size` or `features` and the
    caller gives none, the data set decides it.

    Raises:
        InputError: the module does not take the data set's samples.
        others: as `zoo.build`.
    """
    import torch

    factory = zoo.resolve(model, **kwargs)
    _, options = spec.split(model)
    fitting = {
        key: value
        for key, value in _demands(dataset).items()
        if factory.accepts(key) and key not in options
    }
    factory = zoo.resolve(model, **{**fitting, **kwargs})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = zoo.make(factory)
    _try_forward(module, factory.name, dataset)
    meta = ModuleMeta(
        factory=factory.name,
        kwargs=dict(factory.kwargs),
        input_shape=dataset.input_shape,
        data=data,
        task=dataset.task,
        preprocessing=dataset.preprocessing,
        classes=dataset.classes,
    )
    save_module(path, module, meta)
    return meta


def save_module(path: Path, module: "nn.Module", meta: ModuleMeta) -> None:
    """Write atomically; the same weights and meta give the same bytes."""
    import torch

    # Cloned: a view would be stored with the whole tensor it is cut from.
    state = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in module.state_dict().items()
    }
    content = {"format": FORMAT, **asdict(meta), "heads": widths.head_attributes(module)}
    buffer = io.BytesIO()  # given a path, torch.save would write the file's name into the file
    torch.save(_plain({**content, "state": state}), buffer)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_module(path: Path) -> "tuple[nn.Module, ModuleMeta]":
    """Rebuild the module, in evaluation mode, with the widths of its tensors.

    The file holds no code, but it names the factory, which is imported and called.

    Raises:
        InputError: not a module artifact, or its tensors do not fit what its factory makes.
        others: as `zoo.build`.
    """
    content = _load(path)
    if not isinstance(content, dict) or "factory" not in content:
        raise InputError(
            f"{path}: not a module artifact", hint="a checkpoint of plain tensors goes to --init"
        )
    if content.get("format") != FORMAT:
        raise InputError(
            f"{path}: module format {content.get('format')}, this version reads {FORMAT}",
            hint="build it again",
        )
    try:
        meta = _meta(content)
        state, heads = content["state"], content["heads"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: incomplete module artifact", hint="build it again") from error
    module = zoo.build(meta.factory, **meta.kwargs)
    try:
        widths.load_resized(module, state)
    except InputError as error:
        raise InputError(f"{path}: {error.message}", hint=error.hint) from error
    widths.set_head_attributes(module, heads)
    return module.eval(), meta


def load_checkpoint(path: Path) -> "dict[str, Tensor]":
    """Read the tensors of a module artifact, or of any checkpoint that `tensors_in` knows.

    Raises:
        InputError: anything else; the message says what it is.
    """
    content = _load(path)
    tensors = tensors_in(content)
    if not tensors:
        raise InputError(
            f"{path}: not a checkpoint: expected names and tensors, found {_described(content)}",
            hint="save it by torch.save(model.state_dict(), path)",
        )
    return tensors


def _load(path: Path) -> Any:
    import pickle

    import torch

    if not path.is_file():
        raise InputError(f"{path}: no such file", hint="check the path")
    damaged = InputError(
        f"{path}: not a file of torch.save, or damaged", hint="check where it comes from"
    )
    if not zipfile.is_zipfile(path) and not _begins_with(path, _OLD_FORMAT):
        raise damaged
    if kind := _foreign_archive(path):
        raise InputError(
            f"{path}: is {kind}",
            hint="its code cannot be trained: give package.module:factory and a state dict",
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: holds Python objects, not only tensors",
            hint="loading it could run code: save it by torch.save(model.state_dict(), path)",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise damaged from error


def _begins_with(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _foreign_archive(path: Path) -> str | None:
    """What a zip file of torch's other formats is, by the members only they have."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        members = {name.partition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in members:
        return "a TorchScript archive"
    if members & {"archive_format", "models/model.json", "serialized_exported_program.json"}:
        return "an exported program (.pt2)"
    return None


def _plain(value: Any) -> Any:
    """A copy in which nothing is shared but interned strings.

    The pickler writes an object it has met before as a reference, so equal values would otherwise
    give other bytes whenever two of them happen to be one object.
    """
    match value:
        case str():
            return sys.intern(value)
        case Mapping():
            return {_plain(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value


def _meta(content: Mapping[str, Any]) -> ModuleMeta:
    """What `save_module` wrote of the meta; its tuples are lists in the file."""
    pixels = content["preprocessing"]
    return ModuleMeta(
        factory=content["factory"],
        kwargs=content["kwargs"],
        input_shape=tuple(content["input_shape"]),
        data=content["data"],
        task=content["task"],
        preprocessing=Preprocessing(
            **{**pixels, "mean": tuple(pixels["mean"]), "std": tuple(pixels["std"])}
        ),
        classes=tuple(content["classes"]),
        history=content["history"],
    )


def _demands(dataset: Dataset) -> dict[str, int]:
    """What the data set asks of a factory that has these parameters."""
    samples = dataset.train.x
    wanted = {"classes": len(dataset.classes)}
    if samples.ndim == 4:
        return wanted | {"in_channels": samples.shape[3], "image_size": samples.shape[1]}
    return wanted | {"features": samples.shape[1]}


def _try_forward(module: "nn.Module", name: str, dataset: Dataset) -> None:
    found = tuple(one_output(module, dataset, name).shape)
    shape = dataset.input_shape
    wanted = (1, *shape) if dataset.task == "reconstruction" else (1, len(dataset.classes))
    if found != wanted:
        raise InputError(
            f"{name}: gives {found} for one sample of {dataset.name}, expected {wanted}",
            hint="set the factory's own option, e.g. NAME?num_classes="
            f"{len(dataset.classes)}, or choose other data",
        )


def _described(content: object) -> str:
    return "a dict of other things" if isinstance(content, dict) else type(content).__name__
