"""What a model or a program takes: name, type and shape of each input, and what is the batch."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.module_ends import INPUT, ModuleInput
from edgekiln.runtime.errors import UnsupportedError
from edgekiln.runtime.manifest import DTYPES

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.extents import Extent
    from edgekiln.models.artifact import ModuleMeta
    from edgekiln.runtime.manifest import ProgramSpec

# What one call is given: an array for each input, by its name.
Inputs = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """`shape` is that of one sample: without the batch, where there is one."""

    name: str
    dtype: str  # numpy's name
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """What a model remembers: `input` is `output` of the call before. 0 in `shape` is the batch."""

    input: str
    output: str
    dtype: str  # numpy's name
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ModelInputs:
    """All inputs of a model that a call is given.

    Args:
        batched: whether the first axis of each is the samples'. If not, a call is one sample.
        batch: samples of a call, no more and no fewer; None: any number.
        states: what it remembers. Then what is here a call is a whole stream: of T steps it has
            (T, …) of each input.
    """

    inputs: tuple[ModelInput, ...]
    batched: bool
    batch: int | None
    states: tuple[ModelState, ...] = ()

    def samples_in(self, given: Inputs) -> int:
        """How many samples a call with these arrays computes: of a stream, those of all steps."""
        first = next(iter(given.values()))
        if not self.states:
            return len(first) if self.batched else 1
        return len(first) * (first.shape[1] if self.batched else 1)

    def fits(self, given: Inputs) -> bool:
        """Whether a call has the samples, or streams, of the fixed batch, if there is one."""
        if self.batch is None or not self.batched:
            return True
        first = next(iter(given.values()))
        return bool(first.shape[1 if self.states else 0] == self.batch)

    def at_once(self, wanted: int) -> int:
        """Samples of a call: as many as `wanted` where any number is taken."""
        return self.batch or wanted

    def take(self, given: Inputs, count: int) -> Inputs:
        """The first `count` samples of a call."""
        return {key: array[:count] for key, array in given.items()} if self.batched else given


def of_model(model: "onnx.ModelProto") -> ModelInputs:
    """What an ONNX model takes.

    Raises:
        UnsupportedError: no input, one of a type that no program takes, or an extent that is not
            fixed and is not the batch.
    """
    from edgekiln.compiler.onnx_model import extents
    from edgekiln.compiler.onnx_model.io import read_meta

    pairs = dict(read_meta(model).states)
    everything = extents.model_inputs(model)
    values = [value for value in everything if value.name not in pairs]
    shapes = [extents.extents(value) for value in values]
    batched = _share_a_batch(shapes)
    for value, shape in zip(values, shapes, strict=True):
        _check_fixed(value.name, shape, batched)
    first = shapes[0][0] if batched else 1
    described = _described(
        [(value.name, _dtype(value)) for value in values],
        [_whole(shape) for shape in shapes],
        batched,
        first if isinstance(first, int) and first > 0 else None,
    )
    kept = [value for value in everything if value.name in pairs]
    return replace(described, states=tuple(_state(value, pairs, first) for value in kept))


def of_module(about: "ModuleMeta") -> ModelInputs:
    """What a PyTorch module takes: the first axis is the samples'."""
    known = about.inputs or (ModuleInput(name=INPUT, dtype="float32", shape=about.input_shape),)
    inputs = tuple(ModelInput(name=e.name, dtype=e.dtype, shape=e.shape) for e in known)
    return ModelInputs(inputs=inputs, batched=True, batch=None)


def with_batch(model: "onnx.ModelProto", batch: int) -> None:
    """Fix an open batch, in place. Nothing is done to a model that has none."""
    from edgekiln.compiler.onnx_model import extents

    takes = of_model(model)
    if takes.batch is not None:
        return
    kept = {state.input for state in takes.states}
    opened: set[str] = set()
    for value in extents.model_inputs(model):
        if value.name in kept:
            continue
        dim = value.type.tensor_type.shape.dim[0]
        # Of results, only extents of the inputs' name get the size; "" is an extent without any.
        opened.add(dim.dim_param)
        dim.dim_value = batch
    for other in (value for value in model.graph.input if value.name in kept):
        _fix_named(other, opened, batch)
    for other in (*model.graph.output, *model.graph.value_info):
        _fix_named(other, opened, batch)


def _fix_named(value: "onnx.ValueInfoProto", names: Set[str], size: int) -> None:
    for dim in value.type.tensor_type.shape.dim:
        if dim.dim_param and dim.dim_param in names:
            dim.dim_value = size


def of_program(spec: "ProgramSpec") -> ModelInputs:
    """What a compiled program takes; the types are those of the model, before any quantization."""
    shapes = [tensor.shape for tensor in spec.inputs]
    batched = _share_a_batch(shapes)
    # A tensor with a scale holds codes, where the model had real numbers.
    dtypes = ["float32" if t.scale is not None else t.dtype for t in spec.inputs]
    names = [tensor.name for tensor in spec.inputs]
    batch = shapes[0][0] if batched else 1
    described = _described([*zip(names, dtypes, strict=True)], shapes, batched, batch)
    states = [(state.tensor, state.output) for state in spec.states]
    return replace(
        described,
        states=tuple(
            ModelState(input=t.name, output=output, dtype=t.dtype, shape=t.shape)
            for t, output in states
        ),
    )


def rows(output: NDArray[np.generic], samples: int) -> NDArray[np.generic]:
    """An output with a row a sample; one row, where its values are not the samples' in turn."""
    if output.size and output.ndim and len(output) % samples == 0:
        return output.reshape(samples, -1)
    return output.reshape(1, -1)


def _described(
    named: Sequence[tuple[str, str]],
    shapes: "Sequence[tuple[int, ...]]",
    batched: bool,
    batch: int | None,
) -> ModelInputs:
    return ModelInputs(
        inputs=tuple(
            ModelInput(name=name, dtype=dtype, shape=shape[1:] if batched else shape)
            for (name, dtype), shape in zip(named, shapes, strict=True)
        ),
        batched=batched,
        batch=batch,
    )


def _state(value: "onnx.ValueInfoProto", pairs: Mapping[str, str], batch: "Extent") -> ModelState:
    """A state, whose only open extent may be the batch's, by its name."""
    from edgekiln.compiler.onnx_model.extents import extents

    shape = extents(value)
    _check_fixed(value.name, tuple(1 if e == batch and e != "?" else e for e in shape), False)
    return ModelState(
        input=value.name,
        output=pairs[value.name],
        dtype=_dtype(value),
        shape=tuple(extent if isinstance(extent, int) else 0 for extent in shape),
    )


def _share_a_batch(shapes: "Sequence[tuple[Extent, ...]]") -> bool:
    """Whether all begin with the same extent; of a single input the first axis is the batch."""
    return all(shapes) and len({shape[0] for shape in shapes}) == 1


def _check_fixed(name: str, shape: "tuple[Extent, ...]", batched: bool) -> None:
    # An open extent is a name, or "?"; exporters also write 0 and -1.
    open_axes = [
        (axis, extent)
        for axis, extent in enumerate(shape)
        if not (isinstance(extent, int) and extent > 0) and not (batched and axis == 0)
    ]
    if not open_axes:
        return
    text = "(" + ", ".join(str(extent) for extent in shape) + ")"
    dims = [e for _, e in open_axes if isinstance(e, str) and e != "?"]
    open_places = [axis for axis, _ in open_axes]
    whole = "x".join(
        "1" if axis == 0 else "32" if axis in open_places else str(extent)
        for axis, extent in enumerate(shape)
    )
    how = f"--shape {dims[0]}=8" if dims else f"--shape {name}={whole}"
    raise UnsupportedError(
        f"input {name!r} has the shape {text}: only the batch may be open",
        hint=f"say which size it has, as in {how}, or export the model with fixed sizes",
    )


def _whole(shape: "tuple[Extent, ...]") -> tuple[int, ...]:
    return tuple(extent if isinstance(extent, int) else 0 for extent in shape)


def _dtype(value: "onnx.ValueInfoProto") -> str:
    import onnx

    kind = value.type.tensor_type.elem_type
    name = onnx.helper.tensor_dtype_to_np_dtype(kind).name
    if name not in DTYPES:
        known = onnx.TensorProto.DataType.Name(kind).lower()
        raise UnsupportedError(
            f"input {value.name!r} is {known}, which no program takes",
            hint="export the model with inputs of float32, float16, integers or bool",
        )
    return name
