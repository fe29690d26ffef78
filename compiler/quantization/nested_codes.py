"""A narrower or shallower network of the same weights takes the codes of the wider one, as far as
it can.

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
    Product,
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

    Layers are found by their order, which is that of one architecture; the wider one may have some
    that the narrower one has not. A layer whose weights are not the first channels of any of these
    keeps its own codes, as does one whose bias would not fit.

    Args:
        wide, narrow: QDQ models of one architecture at two widths or depths.
    """
    theirs, ours = ModelWeights(wide), ModelWeights(narrow)
    left = products(wide)
    taken = 0
    for layer in products(narrow):
        own = ours.read(layer)
        for place, wider in enumerate(left):
            first = _first(theirs, wider, own.codes.shape)
            if first is None or (wider.op, wider.axis) != (layer.op, layer.axis):
                continue
            scale = _scale(first, own, layer.axis)
            if scale is not None and _holds(scale, ours.least_scales(layer, own.bias)):
                ours.write(layer, RoundedWeights(codes=first, scale=scale, bias=own.bias))
                taken += 1
                left = left[place + 1 :]
                break
    return taken


def _first(theirs: ModelWeights, wider: Product, shape: tuple[int, ...]) -> NDArray[np.int8] | None:
    """The first channels of a layer, as many as `shape` has; None where it has fewer."""
    codes = theirs[wider.codes].astype(np.int8)
    if codes.ndim != len(shape) or np.any(np.less(codes.shape, shape)):
        return None
    return codes[tuple(slice(extent) for extent in shape)]


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
    left, total, same = products(wide), 0, 0
    for layer in products(narrow):
        own = ours[layer.codes]
        total += own.size
        for place, wider in enumerate(left):
            first = _first(theirs, wider, own.shape)
            if first is not None and np.array_equal(first, own):
                same += own.size
                left = left[place + 1 :]
                break
    return same / total if total else math.nan
