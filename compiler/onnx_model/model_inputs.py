"""What a model or a program takes: name, type and shape of each input, and what is the batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
class ModelInputs:
    """All inputs of a model.

    Args:
        batched: whether the first axis of each is the samples'. If not, a call is one sample.
        batch: samples of a call, no more and no fewer; None: any number.
    """

    inputs: tuple[ModelInput, ...]
    batched: bool
    batch: int | None

    def samples_in(self, given: Inputs) -> int:
        """How many samples a call with these arrays computes."""
        return len(next(iter(given.values()))) if self.batched else 1

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

    values = extents.model_inputs(model)
    shapes = [extents.extents(value) for value in values]
    batched = _share_a_batch(shapes)
    for value, shape in zip(values, shapes, strict=True):
        _check_fixed(value.name, shape, batched)
    first = shapes[0][0] if batched else 1
    return _described(
        [(value.name, _dtype(value)) for value in values],
        [_whole(shape) for shape in shapes],
        batched,
        first if isinstance(first, int) and first > 0 else None,
    )


def of_module(about: "ModuleMeta") -> ModelInputs:
    """What a PyTorch module takes: the first axis is the samples'."""
    known = about.inputs or (ModuleInput(name=INPUT, dtype="float32", shape=about.input_shape),)
    inputs = tuple(ModelInput(name=e.name, dtype=e.dtype, shape=e.shape) for e in known)
    return ModelInputs(inputs=inputs, batched=True, batch=None)


def with_batch(model: "onnx.ModelProto", batch: int) -> None:
    """Fix an open batch, in place. Nothing is done to a model that has none."""
    from edgekiln.compiler.onnx_model import extents

    if of_model(model).batch is not None:
        return
    opened = set()
    for value in extents.model_inputs(model):
        dim = value.type.tensor_type.shape.dim[0]
        # Of results, only extents of the inputs' name get the size; "" is an extent without any.
        opened.add(dim.dim_param)
        dim.dim_value = batch
    for other in (*model.graph.output, *model.graph.value_info):
        for dim in other.type.tensor_type.shape.dim:
            if dim.dim_param and dim.dim_param in opened:
                dim.dim_value = batch


def of_program(spec: "ProgramSpec") -> ModelInputs:
    """What a compiled program takes; the types are those of the model, before any quantization."""
    shapes = [tensor.shape for tensor in spec.inputs]
    batched = _share_a_batch(shapes)
    # A tensor with a scale holds codes, where the model had real numbers.
    dtypes = ["float32" if t.scale is not None else t.dtype for t in spec.inputs]
    names = [tensor.name for tensor in spec.inputs]
    batch = shapes[0][0] if batched else 1
    return _described([*zip(names, dtypes, strict=True)], shapes, batched, batch)


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
    whole = "x".join("1" if axis == 0 else "8" for axis, _ in enumerate(shape))
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
