"""Which pixels Resize's mode `nearest` picks.

Where a pixel of the result lies in the middle between two, or at the very edge of one, the last
bit of a quotient decides. So the quotients are ONNX Runtime's own, of float32: its
core/providers/cpu/tensor/upsamplebase.h.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Places = NDArray[np.float32]

_HALF = np.float32(0.5)


def picks(
    way: str, rounding: str, before: int, after: int, factor: float | None
) -> "NDArray[np.int64] | None":
    """(after,): the pixel that each pixel of the result is; None for a way that needs more.

    Args:
        way: `coordinate_transformation_mode`.
        rounding: `nearest_mode`; or "simple", as before operator set 11.
        before, after: extents of the axis.
        factor: None where sizes are given.
    """
    by = np.float32(after) / np.float32(before) if factor is None else np.float32(factor)
    pixels = np.arange(after, dtype=np.float32)
    centred = (pixels + _HALF) / by - _HALF
    match way:
        case "half_pixel":
            places = centred
        case "pytorch_half_pixel":
            places = centred if after > 1 else pixels
        case "asymmetric":
            places = pixels / by
        case "align_corners":
            ends = np.float32(before - 1), np.float32(max(after - 1, 1))
            places = pixels * ends[0] / ends[1]
        case "half_pixel_symmetric":
            # The middle of the result lies over that of the image, whatever was rounded down.
            offset = np.float32(before) / 2 * (1 - np.float32(after) / (by * np.float32(before)))
            exact = offset + (pixels.astype(np.float64) + 0.5) / by - 0.5
            places = exact.astype(np.float32)
        case _:
            return None
    if rounding == "simple":
        rounding = "ceil" if by < 1 else "floor"
    return _ROUNDINGS[rounding](places).astype(np.int64).clip(0, before - 1)


def _to_the_lower(places: "Places") -> "Places":
    """Round to the nearest whole number; of two, to the lower one."""
    lower: Places = np.ceil(places - _HALF)
    return lower


def _to_the_higher(places: "Places") -> "Places":
    """Round to the nearest whole number; of two, to the higher one."""
    higher: Places = np.floor(places + _HALF)
    return higher


_ROUNDINGS: "dict[str, Callable[[Places], Places]]" = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": _to_the_lower,
    "round_prefer_ceil": _to_the_higher,
}
