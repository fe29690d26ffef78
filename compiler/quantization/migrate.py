"""Migration: what makes activations hard to quantize is moved into the weights that read them.

Behind a normalization a few channels are many times larger than the others, and one scale for all
loses the others. The normalization's own factor and shift are divided by s_j, channel by channel,
and the next product's weights multiplied by it, with s_j = max|x_j|^α / max|w_j|^(1 − α). Xiao et
al., SmoothQuant, 2023 (arXiv:2211.10438), equation 4, with its α of 0.5.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.quantization.channel_peaks import Peaks
from edgekiln.compiler.quantization.products import ModelWeights

if TYPE_CHECKING:
    import onnx

_ALPHA = 0.5
_LEAST = 1e-5  # of a factor: channels that are all but dead keep theirs


@dataclass(frozen=True, kw_only=True)
class Migration:
    """A tensor whose channels can be scaled, by names of initializers."""

    tensor: str
    makers: tuple[str, ...]  # one number a channel each: divided
    readers: tuple[tuple[str, int], ...]  # weights and the axis of their input channels: multiplied


def migrate(model: "onnx.ModelProto", peaks: Peaks) -> int:
    """Balance every normalization or affine operation whose readers all are products by constants.

    Args:
        model: float; rewritten in place.
        peaks: the largest magnitude in each channel of the tensors of `migrations`.

    Returns:
        How many there were.
    """
    weights = ModelWeights(model)
    found = migrations(model)
    for each in found:
        if each.tensor not in peaks:
            continue
        largest = np.max([_by_channel(weights[name], axis) for name, axis in each.readers], axis=0)
        factor = _factors(peaks[each.tensor], largest)
        for name in each.makers:
            weights[name] = (weights.real(name) / factor).astype(np.float32)
        for name, axis in each.readers:
            array = weights.real(name)
            along = factor.reshape([-1 if a == axis else 1 for a in range(array.ndim)])
            weights[name] = (array * along).astype(np.float32)
    return len(found)


def _factors(
    activations: NDArray[np.floating], weights: NDArray[np.floating]
) -> NDArray[np.float64]:
    alive = (activations > _LEAST) & (weights > _LEAST)
    factor = np.ones(len(activations))
    factor[alive] = activations[alive] ** _ALPHA / weights[alive] ** (1 - _ALPHA)
    return np.maximum(factor, _LEAST)


def _by_channel(weights: NDArray[np.generic], axis: int) -> NDArray[np.float64]:
    """The largest weight that each input channel is multiplied with."""
    others = tuple(a for a in range(weights.ndim) if a != axis)
    largest: NDArray[np.float64] = np.abs(weights).max(axis=others).astype(np.float64)
    return largest


def migrations(model: "onnx.ModelProto") -> list[Migration]:
    """What can be migrated: behind a LayerNormalization over the last axis, or a Mul or Mul and Add
    by one number a channel, nothing but MatMul and Gemm with weights of their own.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in model.graph.output}
    shapes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    own = {name for name in shapes if len(readers.get(name, [])) == 1}
    found = []
    for node in model.graph.node:
        makers = _numbers_a_channel(node, shapes, own)
        tensor = node.output[0]
        if node.op_type == "Mul" and makers:
            behind = readers.get(tensor, [])
            shift = _numbers_a_channel(behind[0], shapes, own) if len(behind) == 1 else ()
            if shift and behind[0].op_type == "Add" and tensor not in outputs:
                makers, tensor = (*makers, *shift), behind[0].output[0]
        read = [_input_channels(each, tensor, own) for each in readers.get(tensor, [])]
        if node.op_type == "Add" or not makers or tensor in outputs or not read:
            continue
        known = tuple(each for each in read if each is not None)
        counts = {shapes[name][axis] for name, axis in known} | {shapes[n][-1] for n in makers}
        if len(known) == len(read) and len(counts) == 1:
            found.append(Migration(tensor=tensor, makers=makers, readers=known))
    return found


def _numbers_a_channel(
    node: "onnx.NodeProto", shapes: dict[str, tuple[int, ...]], own: set[str]
) -> tuple[str, ...]:
    """The constants that scale and shift what a node gives, each one number a channel."""
    if node.op_type == "LayerNormalization":
        # Over several axes the factor is no vector.
        names = [name for name in node.input[1:3] if name]
    elif node.op_type in ("Mul", "Add"):
        names = [name for name in node.input if name in shapes]
    else:
        return ()
    flat = all(name in own and shapes[name] and _is_vector(shapes[name]) for name in names)
    return tuple(names) if flat else ()


def _is_vector(shape: tuple[int, ...]) -> bool:
    """Whether all numbers lie along the last axis, and there are several."""
    return shape[-1] > 1 and int(np.prod(shape)) == shape[-1]


def _input_channels(node: "onnx.NodeProto", tensor: str, own: set[str]) -> tuple[str, int] | None:
    """The weights of a product that reads a tensor, and the axis along it."""
    if node.op_type not in ("MatMul", "Gemm") or node.input[0] != tensor:
        return None
    if node.input[1] not in own:
        return None
    said = {a.name: a.i for a in node.attribute if a.name in ("transA", "transB")}
    if said.get("transA"):
        return None
    return node.input[1], 1 if said.get("transB") else 0
