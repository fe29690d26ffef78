"""Standard output that is closed, full, or whose reader has left: words and an exit code."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from edgekiln.runtime.errors import EXIT_PIPE, StorageError
from edgekiln.runtime.faults import print_error

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Around a whole program: ends it in words where what it prints cannot be written.

    Raises:
        SystemExit: standard output is closed or full, see `StorageError`; or a pipe that nobody
            reads any more, quietly, with `EXIT_PIPE`.
    """
    _fill_gaps()
    output = sys.stdout
    if output is None:
        print_error(
            StorageError("standard output is closed", "to drop what is printed: > /dev/null")
        )
        sys.exit(StorageError.exit_code)
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # what is left in the buffer may be what does not fit
    except SystemExit as ended:
        # Where a pipe breaks, click and rich end with 1, which means a bug of ours: click behind
        # other streams, rich while it handles the error.
        if sys.stdout is output and not isinstance(ended.__context__, BrokenPipeError):
            raise
        _drop_the_rest()
        sys.exit(EXIT_PIPE)
    except OSError as error:
        if error.filename is not None or error.errno not in (*_FULL, errno.EPIPE):
            raise
        _drop_the_rest()
        if error.errno == errno.EPIPE:
            sys.exit(EXIT_PIPE)
        words = f"standard output cannot be written: {error.strerror}"
        hint = "free some space where it goes, or choose another file"
        print_error(StorageError(words, hint))
        sys.exit(StorageError.exit_code)


def _fill_gaps() -> None:
    """Nobody's own file may become standard output or error because those were closed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def _drop_the_rest() -> None:
    # Python flushes once more at its end, and would complain in its own words.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
