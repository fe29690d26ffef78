"""What of a function of one code a table holds, or one for each channel."""

from collections.abc import Iterable

_MOST_CHANNELS = 8  # of an image whose channels have tables of their own


def table_channels(shape: tuple[object, ...], constants: Iterable[tuple[int, ...]]) -> int | None:
    """How many channels of a result have numbers of their own; 0: none has; None: more than a
    table's worth.

    Args:
        constants: the shapes of the numbers.
    """
    several = [each for each in constants if any(extent != 1 for extent in each)]
    if not several:
        return 0
    if len(shape) != 4 or not isinstance(count := shape[1], int) or count > _MOST_CHANNELS:
        return None
    known = {(1, count, 1, 1), (count, 1, 1)}
    return count if known.issuperset(several) else None
