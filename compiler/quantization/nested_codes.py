"""A narrower network of the same weights takes the codes of the wider one, as far as it can.

Networks that are trained together share their weights: a filter of the narrower one is the first
channels of the wider one's, times what its own batch norm made of it when that was folded. That
factor, one a channel, goes into the scale, so that the codes are the wider one's bytes, and a
program that holds both has them once.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.quantization.products import (
    ModelWeights,
    RoundedWeights,
    in_rows,
    products,
)

if TYPE_CHECKING:
    import onnx

# Two roundings to the nearest are off by sqrt(2/12) of a step in the root mean square; other
# weights are off by many steps.
_MOST_STEPS = 1.0


def take_codes(wide: "onnx.ModelProto", narrow: "onnx.ModelProto") -> int:
    """Write `narrow`'s weights in the codes of `wide`, in place; returns how many layers could be.

    Layers are found by their order, which is that of one architecture. A layer whose weights are
    not the wider one's first channels keeps its own codes, as does one whose bias would not fit.

    Args:
        wide, narrow: QDQ models of one architecture at two widths.
    """
    theirs, ours = ModelWeights(wide), ModelWeights(narrow)
    pairs = list(zip(products(wide), products(narrow), strict=False))
    taken = 0
    for wider, layer in pairs:
        if (wider.op, wider.axis) != (layer.op, layer.axis):
            continue
        own = ours.read(layer)
        codes = theirs[wider.codes].astype(np.int8)
        if codes.ndim != own.codes.ndim or np.any(np.less(codes.shape, own.codes.shape)):
            continue
        first = codes[tuple(slice(extent) for extent in own.codes.shape)]
        scale = _scale(first, own, layer.axis)
        if scale is not None and _holds(scale, ours.least_scales(layer, own.bias)):
            ours.write(layer, RoundedWeights(codes=first, scale=scale, bias=own.bias))
            taken += 1
    return taken


def _holds(scale: NDArray[np.float32], least: NDArray[np.float32]) -> bool:
    """Whether a bias fits at the scale; by a hair more or less it does."""
    return bool(np.all(scale * 1.01 >= least))


def _scale(codes: NDArray[np.int8], own: RoundedWeights, axis: int) -> NDArray[np.float32] | None:
    """The scale of each channel at which `codes` are the layer's weights; None where they are not.

    It is the factor of the least squares.
    """
    given, had = in_rows(codes, axis), in_rows(own.codes, axis) * own.scale[:, None]
    squares = np.square(given).sum(axis=1)
    along = (given * had).sum(axis=1)
    # A channel of zeros is one at any scale.
    scale = np.where(squares > 0, along / np.maximum(squares, 1), own.scale)
    if not np.all(scale > 0):
        return None
    off = (had - given * scale[:, None]) / np.maximum(scale, own.scale)[:, None]
    steps = np.sqrt(np.square(off).mean(axis=1))
    return scale.astype(np.float32) if steps.max(initial=0.0) <= _MOST_STEPS else None


def shared_share(wide: "onnx.ModelProto", narrow: "onnx.ModelProto") -> float:
    """The part of `narrow`'s weight bytes that are `wide`'s first channels."""
    theirs, ours = ModelWeights(wide), ModelWeights(narrow)
    total = same = 0
    for wider, layer in zip(products(wide), products(narrow), strict=False):
        codes, own = theirs[wider.codes], ours[layer.codes]
        total += own.size
        first = codes[tuple(slice(extent) for extent in own.shape)]
        same += own.size * int(first.shape == own.shape and bool((first == own).all()))
    return same / total if total else math.nan
