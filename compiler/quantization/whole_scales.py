"""Scales of weights with which sums become codes by integers alone, and the same codes: on some
chips that is less work than by floats.

A scale in ten is moved, by a few of float32's last places, which is far less than rounding a weight
to eight bits does; see `onnx_model.requantize`.
"""

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.io import QUANTIZE
from edgekiln.compiler.onnx_model.requantize import NONE, multiplier, shift_for, whole_factors
from edgekiln.compiler.onnx_model.rewriting import ModelFacts, facts_of
from edgekiln.compiler.quantization.products import ModelWeights, products

if TYPE_CHECKING:
    import onnx

_TRIES = 512  # last places that a scale may be moved by, a hundredth of what rounding a weight does
# After so many a quarter of the channels may be left: more, and one would be without in the end.
_FIRST_TRIES, _LEFT = 32, 0.25


def with_whole_scales(model: "onnx.ModelProto") -> None:
    """Move the scales of the weights of products whose results become codes of 8 bits.

    Args:
        model: a QDQ model, which is changed.
    """
    facts, weights, layers = facts_of(model), ModelWeights(model), products(model)
    readers = Counter(each.scale for each in layers)
    for product in layers:
        end = _codes_of(facts, product.output)
        # What one moves would be another's, too.
        if end is None or readers[product.scale] > 1 or not all(name in weights for name in end):
            continue
        y_scale, zero = (weights[name] for name in end)
        if zero.dtype.itemsize > 1 or zero.size > 1:
            continue
        own, x_scale = weights.read(product), weights[product.data_scale]
        codes = np.iinfo(np.dtype(zero.dtype).name)
        steps = np.arange(codes.min + 1, codes.max + 1, dtype=np.int64) - int(zero.item())
        moved = moved_scales(own.scale, float(x_scale.item()), float(y_scale.item()), steps)
        if not np.array_equal(moved, own.scale):
            weights.write(product, replace(own, scale=moved))


def _codes_of(facts: ModelFacts, tensor: str) -> tuple[str, str] | None:
    """The names of the scale and of the zero point of the only codes that a tensor becomes, perhaps
    behind a clip.
    """
    node = facts.alone(tensor)
    if node is None:
        return None
    if node.op_type == QUANTIZE and len(node.input) > 2:
        return node.input[1], node.input[2]
    if operators.integer_form(node.op_type, node.domain) == "clip":
        return _codes_of(facts, node.output[0])
    return None


def moved_scales(
    scale: NDArray[np.float32], x_scale: float, y_scale: float, steps: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The scales, each moved until its channel has a factor; as they were if one finds none."""
    moved = scale.copy()
    shift = shift_for(multiplier(x_scale, scale, y_scale))
    lost = np.arange(len(scale) if shift else 0)
    for tries in range(_TRIES):
        mult = multiplier(x_scale, moved[lost], y_scale)
        lost = lost[whole_factors(mult, steps, shift) == NONE]
        if not lost.size:
            return moved
        if tries >= _FIRST_TRIES and lost.size > 1 + _LEFT * len(scale):
            return scale
        moved[lost] = np.nextafter(moved[lost], np.float32(np.inf))
    return scale
