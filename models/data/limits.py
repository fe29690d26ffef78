"""How much of a data set is held in memory, checked before any of it is allocated; and names."""

from collections.abc import Iterator
from contextlib import contextmanager

from edgekiln.runtime.errors import InputError
from edgekiln.runtime.limits import Limit, reading_hint

# Of a file, or of all decoded images together.
DATA = Limit(what="a data set", variable="EDGEKILN_MAX_DATA_BYTES", default=1 << 32)


def check_pixels(where: str, images: int, size: tuple[int, int], channels: int) -> None:
    """Refuse more 8-bit images of height and width `size` than are held; `where` is the path.

    Raises:
        InputError: above the limit; the hint says how to need less, and how to raise it.
    """
    smaller = "load fewer or smaller images: ?limit=50000&size=96"
    DATA.check(images * size[0] * size[1] * channels, where, smaller)


def check_name(name: str) -> None:
    """Refuse the name of a file, folder or class that is no UTF-8: no document can hold it.

    Raises:
        InputError: it is not; the message shows its bytes.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
        raise InputError(f"{shown}: its name is not UTF-8", hint="rename it") from error


@contextmanager
def in_words(name: str) -> Iterator[None]:
    """Around what reads data: a folder or file that may not be read, a broken disk.

    Raises:
        InputError: in place of OSError; the message names the file, or else `name`.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{error.filename or name}: cannot be read: {error.strerror or error}",
            hint=reading_hint(error, "check that it is still there"),
        ) from error
