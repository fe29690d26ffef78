"""Numbers that data's options say beside those that a model was trained with."""

import numpy as np
from numpy.typing import NDArray

from edgekiln.runtime.errors import InputError
from edgekiln.runtime.manifest import MAX_PIXEL, Preprocessing

_ALIKE = 0.01  # of what a pixel's whole range becomes: such numbers are rounded


def check_are_own(where: str, told: Preprocessing | None, own: Preprocessing | None) -> None:
    """Refuse options that the model's own numbers would leave without effect.

    Args:
        told: what `scale`, `mean` and `std` say; None where they say nothing.
        own: what the model says; None where it says nothing.

    Raises:
        InputError: they say two things.
    """
    if told is None or own is None:
        return
    lengths = {len(each) for each in (told.mean, told.std, own.mean, own.std)} - {1}
    if len(lengths) < 2:
        most = 1 / own.scale if own.scale else MAX_PIXEL
        wanted, found = _ends(own, most), _ends(told, most)
        if np.allclose(wanted, found, rtol=0, atol=_ALIKE * float(np.ptp(wanted))):
            return
    raise InputError(
        f"{where}: scale, mean and std are not the model's own, {own.scale:.6g}, "
        f"{_listed(own.mean)} and {_listed(own.std)}",
        hint="leave them out: the model says how a pixel becomes a number",
    )


def _ends(numbers: Preprocessing, most: float) -> NDArray[np.float64]:
    """What becomes of the smallest and the largest pixel, (2, channels)."""
    pixels = np.array([[0.0], [most]])
    ends: NDArray[np.float64] = (pixels * numbers.scale - numbers.mean) / np.array(numbers.std)
    return ends


def _listed(numbers: tuple[float, ...]) -> str:
    return ",".join(f"{each:.6g}" for each in numbers)
