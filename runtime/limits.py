"""How much is read from a file: bounded before memory is taken, and every bound can be raised."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgekiln.runtime.errors import ConfigError, InputError

_CHUNK = 1 << 20

# A path that nobody can say of whether a file is there, as `Path.is_file` and its like tell.
UNREACHABLE = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)
# What `open_regular` says where no regular file is: nothing, a folder, a link to itself, a pipe.
NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A bound in bytes, which an environment variable replaces."""

    what: str  # it is a bound of, in messages
    variable: str
    default: int

    @property
    def max_bytes(self) -> int:
        """Raises ConfigError when the variable is no whole number above 0."""
        given = os.environ.get(self.variable, "")
        if not given:
            return self.default
        if not (given.isascii() and given.isdecimal() and len(given) < 19 and int(given) > 0):
            raise ConfigError(
                f"{self.variable} = {given!r}",
                hint=f"give a number of bytes; without it, it is {self.default}",
            )
        return int(given)

    def check(self, size: int, where: str, smaller: str = "") -> None:
        """Raises InputError when `size` bytes are more than allowed.

        `smaller` is what the user can do to need less.
        """
        if size > self.max_bytes:
            more = f"if that is meant, set {self.variable} to a larger number of bytes"
            raise InputError(
                f"{where}: {size} bytes, {self.what} may have {self.max_bytes}",
                hint=f"{smaller}; {more}" if smaller else more,
            )


INPUTS = Limit(what="an input", variable="EDGEKILN_MAX_INPUT_BYTES", default=1 << 30)
MODELS = Limit(what="a model", variable="EDGEKILN_MAX_MODEL_BYTES", default=1 << 31)
BUNDLES = Limit(what="a bundle", variable="EDGEKILN_MAX_BUNDLE_BYTES", default=1 << 32)


def read_file(path: Path, limit: Limit, hint: str) -> bytes:
    """The whole content of a regular file, read once.

    Raises:
        InputError: no such file, not a regular one, larger than `limit`, or not readable; `hint`
            says what should be there.
    """
    with opened(path, limit, hint) as stream:
        parts, size = [], 0
        while part := stream.read(_CHUNK):  # a file may grow, and /proc gives no sizes
            size += len(part)
            limit.check(size, str(path))
            parts.append(part)
        return b"".join(parts)


def open_regular(path: Path) -> BinaryIO:
    """A regular file for reading; the one way in which a file that a user names is opened.

    Devices and pipes, which may never end, are refused.

    Raises:
        OSError: no such file, not a regular one, or not readable.
        ValueError: a path with a zero byte.
    """
    # Without O_NONBLOCK a pipe that nobody writes to would hang the opening.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path) -> bytes:
    """The whole content of a regular file of ours. Raises OSError as `open_regular`."""
    with open_regular(path) as stream:
        return stream.read()


def read_regular_up_to(path: Path, size: int) -> bytes:
    """The same of a file that should have `size` bytes at most; of a larger one, one byte more."""
    with open_regular(path) as stream:
        return stream.read(size + 1)


def reading_hint(error: OSError | ValueError, hint: str) -> str:
    """What to do about an error of `open_regular`: `hint`, which speaks of the content, or what
    helps where a file is there, but not for this user, or is none.
    """
    if isinstance(error, PermissionError):
        return "make it, and the folders that it lies in, readable for you"
    if isinstance(error, OSError) and error.errno == errno.EINVAL:
        return "pipes and devices are not read: give a file"
    return hint


def unreachable(error: OSError) -> InputError | None:
    """The user's error where one of their paths may not be looked at, or is too long."""
    if error.errno not in UNREACHABLE or error.filename is None:
        return None
    return InputError(
        f"{error.filename}: {error.strerror}", reading_hint(error, "give a shorter name")
    )


@contextmanager
def opened(path: Path, limit: Limit, hint: str) -> Iterator[BinaryIO]:
    """A regular file for reading, see `open_regular`.

    Raises:
        InputError: no such file, not a regular one, larger than `limit`, or not readable; `hint`
            says what should be there.
    """
    try:
        with open_regular(path) as stream:
            limit.check(os.fstat(stream.fileno()).st_size, str(path))
            yield stream
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        reason = error.strerror if isinstance(error, OSError) else None
        raise InputError(f"{path}: {reason or error}", reading_hint(error, hint)) from error
