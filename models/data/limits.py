"""How much of a data set is held in memory, checked before any of it is allocated."""

from edgekiln.runtime.limits import Limit

# Of a file, or of all decoded images together.
DATA = Limit(what="a data set", variable="EDGEKILN_MAX_DATA_BYTES", default=1 << 32)


def check_pixels(where: str, images: int, size: tuple[int, int], channels: int) -> None:
    """Refuse more 8-bit images of height and width `size` than are held; `where` is the path.

    Raises:
        InputError: above the limit; the hint says how to need less, and how to raise it.
    """
    smaller = "load fewer or smaller images: ?limit=50000&size=96"
    DATA.check(images * size[0] * size[1] * channels, where, smaller)
