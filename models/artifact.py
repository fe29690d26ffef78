"""Module artifacts: a factory's name, its arguments and plain tensors, in one file without code."""

import io
import math
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekiln.models import depth, spec, widths, zoo
from edgekiln.models.allowed_factories import require_allowed
from edgekiln.models.checkpoint import tensors_in
from edgekiln.models.data.dataset import Dataset
from edgekiln.models.data.unlabelled import load_samples
from edgekiln.models.interface import check_fits, in_forwards_order, is_plain
from edgekiln.models.module_ends import INPUT, OUTPUT, ModuleInput, ends_of
from edgekiln.models.spec import Value
from edgekiln.models.tasks.heads import is_known
from edgekiln.models.torch_file import check_plain, is_state, read_torch_file
from edgekiln.runtime import codec
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.files import written_whole
from edgekiln.runtime.manifest import Preprocessing, preprocessing_fault

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ModuleMeta:
    """Everything about a module but its tensors. `history` holds JSON values only."""

    factory: str
    kwargs: Mapping[str, Value] = field(default_factory=dict)
    input_shape: tuple[int, ...]  # one sample as the module takes it, without the batch axis
    data: str
    task: str = "classification"  # as `heads_of` reads it; "": not known
    # None: the samples are the model's own numbers.
    preprocessing: Preprocessing | None = field(default_factory=Preprocessing)
    classes: tuple[str, ...] = ()
    # Empty: one float32 input.
    inputs: tuple[ModuleInput, ...] = ()
    outputs: tuple[str, ...] = (OUTPUT,)
    history: Mapping[str, Any] = field(default_factory=dict)  # JSON


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
        # What the user wrote behind "?" wins; the data decides what he left open.
        if factory.accepts(key) and key not in options
    }
    factory = zoo.resolve(model, **{**fitting, **kwargs})
    # The caller draws on as if nothing had been drawn. Weights come from the CPU's generator, so
    # the GPUs' states (`devices`) need not be kept.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = zoo.make(factory)
    dataset = in_forwards_order(dataset, module, factory.name)
    outputs = check_fits(module, dataset, factory.name)
    meta = ModuleMeta(
        factory=factory.name,
        kwargs=dict(factory.kwargs),
        input_shape=dataset.input_shape,
        data=data,
        task=dataset.task,
        preprocessing=dataset.preprocessing,
        classes=dataset.classes,
        inputs=() if is_plain(dataset, outputs) else _inputs(dataset),
        outputs=tuple(outputs),
    )
    save_module(path, module, meta)
    return meta


def create_unlabelled(path: Path, model: str, data: str, *, seed: int) -> ModuleMeta:
    """Write the artifact of a module as its factory makes it, for samples without labels: any
    number of inputs and outputs, of any type.

    Raises:
        InputError: the module does not take the samples.
        others: as `zoo.build` and `load_samples`.
    """
    import torch

    factory = zoo.resolve(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = zoo.make(factory)
    ends = ends_of(module, factory.name, load_samples(data, seed))
    meta = ModuleMeta(
        factory=factory.name,
        kwargs=dict(factory.kwargs),
        input_shape=ends.inputs[0].shape,
        data=data,
        task="",
        preprocessing=ends.preprocessing,
        inputs=ends.inputs,
        outputs=ends.outputs,
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
    content = {
        "format": FORMAT,
        **codec.encode(meta),
        "heads": widths.head_attributes(module),
        "removed": depth.removed_blocks(module),
    }
    buffer = io.BytesIO()  # given a path, torch.save would write the file's name into the file
    torch.save(_plain({**content, "state": state}), buffer)
    with written_whole(path) as stream:
        stream.write(buffer.getvalue())


def read_meta(path: Path) -> ModuleMeta:
    """What a module artifact says of itself; nothing that it names is imported or called.

    `kwargs` are as the file has them: `load_module` judges them.

    Raises:
        InputError: not a module artifact.
    """
    return _meta(path, _content(path))


def load_module(path: Path, allow: Collection[str] = ()) -> "tuple[nn.Module, ModuleMeta]":
    """Rebuild the module, in evaluation mode, with the widths of its tensors and without
    the blocks that were removed.

    It names the factory, which is imported and called: one of the zoo, or one that the user allows.

    Args:
        allow: factories besides the zoo's, as "package.module:factory".

    Raises:
        InputError: not a module artifact, a factory that is not allowed, or its tensors do not fit
            what its factory makes.
        others: as `zoo.build`.
    """
    content = _content(path)
    require_allowed(path, str(content["factory"]), allow)
    meta = _meta(path, content)
    if not all(isinstance(value, int | float | str | None) for value in meta.kwargs.values()):
        raise InputError(f"{path}: its factory's arguments are no plain values", "build it again")
    state, heads = content.get("state"), content.get("heads")
    removed = content.get("removed", [])  # files without it are of modules that are whole
    if not (
        is_state(state) and widths.are_head_attributes(heads) and depth.are_removed_blocks(removed)
    ):
        raise InputError(f"{path}: incomplete module artifact", hint="build it again")
    module = zoo.build(meta.factory, **meta.kwargs)
    try:
        depth.remove_blocks(module, removed)
        widths.load_resized(module, state)
        widths.set_head_attributes(module, heads)
    except InputError as error:
        raise InputError(f"{path}: {error.message}", hint=error.hint) from error
    return module.eval(), meta


def load_checkpoint(path: Path) -> "dict[str, Tensor]":
    """Read the tensors of a module artifact, or of any checkpoint that `tensors_in` knows.

    Raises:
        InputError: anything else; the message says what it is.
    """
    content = read_torch_file(path)
    tensors = tensors_in(content)
    if not tensors:
        raise InputError(
            f"{path}: not a checkpoint: expected names and tensors, found {_described(content)}",
            hint="save it by torch.save(model.state_dict(), path)",
        )
    check_plain(path, tensors)
    return tensors


def _plain(value: object) -> object:
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


def _content(path: Path) -> dict[str, object]:
    """The whole file, if it is a module artifact of this format."""
    content = read_torch_file(path)
    if not isinstance(content, dict) or "factory" not in content:
        raise InputError(
            f"{path}: not a module artifact", hint="a checkpoint of plain tensors goes to --init"
        )
    if content.get("format") != FORMAT:
        raise InputError(
            f"{path}: module format {content.get('format')}, this version reads {FORMAT}",
            hint="build it again",
        )
    return content


def _meta(path: Path, content: Mapping[str, object]) -> ModuleMeta:
    """What `save_module` wrote of the meta."""
    names = {field.name for field in fields(ModuleMeta)}
    stored = {key: value for key, value in content.items() if key in names}
    kwargs = stored.get("kwargs")
    if not isinstance(kwargs, dict) or not all(isinstance(name, str) for name in kwargs):
        raise InputError(f"{path}: its factory's arguments have no names", "build it again")
    try:
        meta = replace(codec.decode(ModuleMeta, {**stored, "kwargs": {}}), kwargs=kwargs)
        if meta.task and not is_known(meta.task):
            raise codec.CodecError(f"task: no task named {meta.task!r}")
        if meta.preprocessing and (fault := preprocessing_fault(meta.preprocessing)):
            raise codec.CodecError(fault)
        return meta
    except (codec.CodecError, RecursionError) as error:
        raise InputError(
            f"{path}: incomplete module artifact ({error})", hint="build it again"
        ) from error


def _demands(dataset: Dataset) -> dict[str, Value]:
    """What the data set asks of a factory that has these parameters."""
    samples = dataset.train.x
    wanted: dict[str, Value] = {}
    for head in dataset.heads:
        own = f"{head.name}_" if head.name else ""
        target = dataset.train.targets[head.name]
        wanted[f"{own}classes"] = dataset.classes_of(head)
        if target.dtype.kind == "f":
            wanted[f"{own}outputs"] = math.prod(target.shape[1:])
            numbers = target.astype(np.float64)
            wanted[f"{own}target_mean"] = float(numbers.mean())
            # Of targets that are all the same any scale will do, but not 0.
            wanted[f"{own}target_std"] = float(numbers.std()) or 1.0
    if samples.dtype == np.uint8 and samples.ndim == 4:
        return wanted | {"in_channels": samples.shape[3], "image_size": samples.shape[1]}
    return wanted | {"features": samples.shape[1]} if samples.ndim == 2 else wanted


def _inputs(dataset: Dataset) -> tuple[ModuleInput, ...]:
    first = dataset.ready(dataset.train.take(np.arange(1)).inputs)
    return tuple(
        ModuleInput(name=name or INPUT, dtype=array.dtype.name, shape=array.shape[1:])
        for name, array in first.items()
    )


def _described(content: object) -> str:
    return "a dict of other things" if isinstance(content, dict) else type(content).__name__
