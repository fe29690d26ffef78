"""How much is read from a file: bounded before memory is taken, and every bound can be raised."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgekiln.runtime.errors import ConfigError, InputError

_CHUNK = 1 << 20


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


@contextmanager
def opened(path: Path, limit: Limit, hint: str) -> Iterator[BinaryIO]:
    """A regular file for reading.

    Devices and pipes, which may never end, are refused.

    Raises:
        InputError: no such file, not a regular one, larger than `limit`, or not readable; `hint`
            says what should be there.
    """
    try:
        # Without O_NONBLOCK a pipe that nobody writes to would hang the opening.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path}: is not a regular file", hint=hint)
            limit.check(status.st_size, str(path))
            yield stream
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        reason = error.strerror if isinstance(error, OSError) else None
        raise InputError(f"{path}: {reason or error}", hint=hint) from error
