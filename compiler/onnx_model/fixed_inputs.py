"""Inputs that are the same in every call become constants: a sampling rate, a flag."""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import extents
from edgekiln.runtime.errors import ConfigError

if TYPE_CHECKING:
    import onnx


def fix(model: "onnx.ModelProto", text: str) -> None:
    """Make an input a constant, in place: "NAME=VALUE", or a comma between several values.

    Raises:
        ConfigError: no such input, one whose shape is open, or values that are not of its type or
            number.
    """
    import onnx

    name, equals, given = text.partition("=")
    inputs = {value.name: value for value in extents.model_inputs(model)}
    if not equals or name not in inputs:
        raise ConfigError(
            f"--constant {text}: the model has no input {name!r}",
            hint=f"write NAME=VALUE; its inputs are: {', '.join(inputs)}",
        )
    if len(inputs) == 1:
        raise ConfigError(f"--constant {text}: the model has no other input")
    value = inputs[name]
    shape = extents.extents(value)
    # Names are open, and so are 0 and below, as some exporters write it.
    sizes = [extent for extent in shape if isinstance(extent, int) and extent > 0]
    if len(sizes) < len(shape):
        raise ConfigError(
            f"--constant {text}: {name!r} has the shape ({', '.join(map(str, shape))})",
            hint=f"fix it first: --shape {name}={'x'.join('1' for _ in shape)}",
        )
    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    array = _array(given, dtype, tuple(sizes), text)
    # An initializer takes over the name, so the readers stay as they are.
    model.graph.input.remove(value)
    model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))


def _array(
    given: str, dtype: "np.dtype[np.generic]", shape: tuple[int, ...], text: str
) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    words = given.lower().split(",")
    known = {"true": "1", "false": "0"} if dtype.kind == "b" else {}
    try:
        numbers = [float(known.get(word, word)) for word in words]
        array = np.array(numbers if len(numbers) > 1 else numbers[0], np.float64)
        whole = np.broadcast_to(array.reshape(shape) if len(numbers) > 1 else array, shape)
    except ValueError:
        raise ConfigError(
            f"--constant {text}: these are no {dtype.name} values of shape {shape}",
            hint="give one number, or as many as the input has, with commas between them",
        ) from None
    fixed = whole.astype(dtype)
    # `astype` cuts fractions off and wraps around without a word.
    if dtype.kind in "iub" and not np.array_equal(fixed.astype(np.float64), whole):
        raise ConfigError(f"--constant {text}: {dtype.name} does not hold this value")
    return np.ascontiguousarray(fixed).reshape(shape)
