"""What a Resize makes of each axis: a matrix, for all of ONNX's ways are linear, axis by axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import nearest, operators
from edgekiln.compiler.onnx_model.sizes import max_elements

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDED = 1e-3  # of a pixel: what float32 factors such as 2/3 are off by
_DEFINITION = 19  # the operator set by whose Resize matrices are made: it has all the ways


@dataclass(frozen=True, kw_only=True)
class Resizing:
    """A Resize or Upsample whose operands are constant."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    factors: tuple[float, ...] | None  # one an axis; None: sizes are given
    sizes: tuple[int, ...] | None
    roi: tuple[float, ...]  # where the axes begin, then where they end; () for all of them
    given: operators.Attributes  # attributes, as of the newest Resize

    @property
    def repeats(self) -> bool:
        """Whether the result has each pixel as often as any other."""
        return all(b % a == 0 for a, b in zip(self.before, self.after, strict=True))

    @property
    def is_whole(self) -> bool:
        """Whether the factors make whole pixels."""
        return self.factors is None or all(
            abs(extent * factor - math.floor(extent * factor + _ROUNDED)) <= _ROUNDED
            for extent, factor in zip(self.before, self.factors, strict=False)
        )


def matrix(found: Resizing, axis: int) -> "NDArray[np.float64] | None":
    """(after, before): row i holds the weights of the axis' pixels in the result's pixel i.

    It is what Resize makes of a picture with one bright line, for each line; None where these
    pictures are too large.
    """
    import onnx
    from onnx.reference import ReferenceEvaluator

    extent = found.before[axis]
    if (pixels := _pixels(found, axis)) is not None:
        return np.eye(extent)[pixels]
    way = found.given.get("coordinate_transformation_mode")
    # Aligned corners lie by the sizes alone, whole ones. ONNX's reference would take 8·1.3 = 10.4.
    aligned = way == "align_corners"
    # The axes resize each other only where the aspect ratio is kept.
    alone = aligned or "keep_aspect_ratio_policy" not in found.given
    shape = [1 if alone and i != axis else n for i, n in enumerate(found.before)]
    if extent * math.prod(shape) > max_elements():
        return None
    lines = np.eye(extent).reshape(extent, *[n if i == axis else 1 for i, n in enumerate(shape)])
    pictures = np.broadcast_to(lines, (extent, *shape))
    own = axis if alone else None
    sizes = [found.after[i] for i in _axes(found)] if aligned else found.sizes
    wanted = _per_axis(found, found.factors if sizes is None else sizes, own)
    left_out = {"axes", "extrapolation_value", *(["keep_aspect_ratio_policy"] if aligned else [])}
    given = {k: v for k, v in found.given.items() if k not in left_out}
    inputs: dict[str, NDArray[np.generic]] = {"x": pictures}
    names = ["x", "roi", "factors"] if sizes is None else ["x", "roi", "", "sizes"]
    if found.roi:
        half = len(found.roi) // 2
        begins, ends = (
            _per_axis(found, part, own) for part in (found.roi[:half], found.roi[half:])
        )
        inputs["roi"] = np.array([*begins, *ends], np.float32)
    else:
        names[1] = ""
    axes = [1 + i for i in _axes(found) if not alone or i == axis]
    if not axes:
        return np.eye(extent)
    inputs[names[-1]] = np.array(wanted, np.float32 if sizes is None else np.int64)
    info = onnx.helper.make_empty_tensor_value_info
    node = onnx.helper.make_node("Resize", names, ["y"], axes=axes, **given)
    graph = onnx.helper.make_graph([node], "one", [info(n) for n in inputs], [info("y")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", _DEFINITION)])
    (made,) = ReferenceEvaluator(model).run(None, inputs)
    # (line, …, result, …) with the same values along the other axes
    picked = tuple(slice(None) if i == axis else 0 for i in range(len(shape)))
    rows = np.asarray(made)[(slice(None), *picked)].T
    if way == "tf_crop_and_resize" and axis in _axes(found):
        # ONNX's reference repeats the edge there.
        rows = rows * ~_outside(extent, len(rows), begins[0], ends[0])[:, None]
    return rows


def _outside(before: int, after: int, begin: float, end: float) -> "NDArray[np.bool_]":
    """(after,): whether a pixel of a crop lies beyond the image, in float32 as ONNX Runtime has it;
    the formula is that of ONNX's Resize.
    """
    first, last, whole = np.float32(begin), np.float32(end), np.float32(before - 1)
    pixels = np.arange(after, dtype=np.float32)
    places = (
        first * whole + pixels * (last - first) * whole / np.float32(after - 1)
        if after > 1
        else np.float32(0.5) * (first + last) * whole * np.ones(1, np.float32)
    )
    return (places < 0) | (places > whole)


def _pixels(found: Resizing, axis: int) -> "NDArray[np.int64] | None":
    """The pixel that each of the result's is, where none is mixed of several."""
    way = found.given.get("coordinate_transformation_mode", "half_pixel")
    # A single pixel of PyTorch's is the first one, in every mode.
    alone = (way, found.after[axis]) == ("pytorch_half_pixel", 1) and "antialias" not in found.given
    picked = found.given["mode"] == "nearest" or alone
    if not picked or "keep_aspect_ratio_policy" in found.given:
        return None
    if axis not in _axes(found):
        return np.arange(found.before[axis])
    factors = _per_axis(found, found.factors, axis)
    return nearest.picks(
        way,
        found.given.get("nearest_mode", "round_prefer_floor"),
        found.before[axis],
        found.after[axis],
        factors[0] if factors else None,
    )


def _axes(found: Resizing) -> list[int]:
    rank = len(found.before)
    return [axis % rank for axis in found.given.get("axes", range(rank))]


def _per_axis(found: Resizing, numbers: Sequence[float] | None, axis: int | None) -> list[float]:
    """The numbers, one an axis that is resized, of one axis or of all."""
    pairs = zip(_axes(found), numbers or (), strict=False)
    return [number for each, number in pairs if axis is None or each == axis]
