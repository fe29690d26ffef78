"""Fourier transforms as products with a constant matrix.

A transform is linear: its matrix holds what becomes of a one at each place, real or imaginary.
Where that is half a spectrum of real values, `lowering.fourier` finds it again.
"""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import NodeWriter

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts

    Nodes = list[onnx.NodeProto] | None

MOST_VALUES = 4096  # of a transform: its matrix has as many rows and columns, twice
_AXIS_IS_AN_OPERAND = 20  # of DFT since this operator set


def dft(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """Along one axis of an operand whose last axis holds the real and the imaginary part."""
    given, shape = operators.attributes(node), facts.static(node.input[0])
    length, axis = _number(facts, node, 1), given.get("axis", 1)
    if facts.opset >= _AXIS_IS_AN_OPERAND:
        axis = _number(facts, node, 2, -2)
    if not shape or shape[-1] not in (1, 2) or axis is None or length is None:
        return None
    axis %= len(shape)
    if max(shape[axis], length) > MOST_VALUES:
        return None
    w = NodeWriter(facts=facts, node=node)
    # The axis goes to the last place but one, in front of the real and imaginary parts.
    order = [i for i in range(len(shape)) if i != axis]
    order.insert(len(order) - 1, axis)
    source = w.op("Transpose", node.input[0], perm=order)
    moved = tuple(shape[i] for i in order)
    done = _transformed(w, source, moved, length, given)
    w.op("Transpose", done, result=node.output[0], perm=np.argsort(order).tolist())
    return w.nodes


def stft(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """Transforms of frames that begin every so many values, weighted by a window."""
    given, shape = operators.attributes(node), facts.static(node.input[0])
    step, window = _number(facts, node, 1), facts.static(_operand(node, 2))
    length = _number(facts, node, 3, window[0] if window else 0)
    if not shape or len(shape) != 3 or not step or not length or length > MOST_VALUES:
        return None
    if shape[1] < length or (window and window[0] != length):
        return None
    w = NodeWriter(facts=facts, node=node)
    begins = np.arange(0, shape[1] - length + 1, step)
    places = w.constant(begins[:, None] + np.arange(length))
    # (N, values, parts) → (N, frames, length, parts)
    frames = w.op("Gather", node.input[0], places, axis=1)
    if window:
        frames = w.op("Mul", frames, w.op("Reshape", node.input[2], w.numbers(length, 1)))
    # Half a spectrum is the default of STFT, a whole one that of DFT.
    whole = (shape[0], len(begins), length, shape[2])
    done = _transformed(w, frames, whole, length, {"onesided": given.get("onesided", 1)})
    w.op("Identity", done, result=node.output[0])
    return w.nodes


def _transformed(
    w: NodeWriter, source: str, shape: tuple[int, ...], length: int, given: operators.Attributes
) -> str:
    """(…, values, parts) → (…, values, parts): a row of values and parts times the matrix."""
    matrix, parts = _matrix(shape[-2], shape[-1], length, given)
    dtype = w.facts.dtypes[w.node.input[0]]
    rows = w.op("Reshape", source, w.numbers(*shape[:-2], shape[-2] * shape[-1]))
    product = w.op("MatMul", rows, w.constant(matrix.astype(dtype)))
    return w.op("Reshape", product, w.numbers(*shape[:-2], matrix.shape[1] // parts, parts))


def _matrix(
    count: int, parts: int, length: int, given: operators.Attributes
) -> "tuple[NDArray[np.float64], int]":
    """(count · parts, values · parts of the result), and the parts of the result."""
    inverse, one_sided = bool(given.get("inverse")), bool(given.get("onesided"))
    # Half a spectrum of `count` values belongs to 2 · (count − 1) real ones, or to one more;
    # without a length it is the even number, as in `np.fft.irfft`.
    size = length or (2 * (count - 1) if inverse and one_sided else count)
    # A row for each number that goes in: a one at its place, or an i for an imaginary part.
    ones = np.eye(count, dtype=complex)
    rows = np.stack([ones, 1j * ones][:parts], axis=1).reshape(count * parts, count)
    if inverse and one_sided:
        return np.fft.irfft(rows, size), 1
    made = np.fft.ifft(rows, size) if inverse else np.fft.fft(rows, size)
    if one_sided:
        made = made[:, : size // 2 + 1]
    return np.stack([made.real, made.imag], axis=-1).reshape(count * parts, -1), 2


def _number(facts: "ModelFacts", node: "onnx.NodeProto", place: int, absent: int = 0) -> int | None:
    """An operand that is one number; None where that is computed."""
    name = _operand(node, place)
    value = facts.constants.get(name)
    if not name:
        return absent
    return None if value is None else int(value.reshape(-1)[0])


def _operand(node: "onnx.NodeProto", place: int) -> str:
    return node.input[place] if place < len(node.input) else ""
