"""How much of a data set is held in memory, checked before any of it is allocated."""

import os

from edgekiln.runtime.errors import ConfigError, InputError

VARIABLE = "EDGEKILN_DATA_GIB"  # raises or lowers the limit
_DEFAULT_GIB = 4.0


def limit_bytes() -> int:
    """The largest size of a file, or of all decoded images together.

    Raises:
        ConfigError: the environment's limit is not a number above 0.
    """
    text = os.environ.get(VARIABLE, str(_DEFAULT_GIB))
    try:
        gib = float(text)
        if not 0 < gib < float("inf"):
            raise ValueError(text)
    except ValueError:
        raise ConfigError(
            f"{VARIABLE}={text}: not a size", hint="give GiB as a number above 0, such as 8"
        ) from None
    return int(gib * 2**30)


def check_size(where: str, size_bytes: int, what: str, smaller: str) -> None:
    """Refuse what would not fit.

    Args:
        where: the path, and the part of it, for the message.
        size_bytes: what would be allocated.
        what: what it is, in the plural: "pixels".
        smaller: what the user can do to need less.

    Raises:
        InputError: above the limit; the message names both sizes, the hint the way to raise it.
    """
    if size_bytes > (limit := limit_bytes()):
        most = f"at most {limit / 2**30:g} GiB are held"
        raise InputError(
            f"{where}: {size_bytes / 2**30:.1f} GiB of {what}, {most}",
            hint=f"{smaller}; or allow more by the environment: {VARIABLE}=8",
        )


def check_pixels(where: str, images: int, size: tuple[int, int], channels: int) -> None:
    """`check_size` of 8-bit images of height and width `size`."""
    check_size(
        where,
        images * size[0] * size[1] * channels,
        "pixels",
        "load fewer or smaller images: ?limit=50000&size=96",
    )
