"""What TVM's C++ code says to standard error by itself."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

_STANDARD_ERROR = 2
# A line of TVM's log, such as "[12:00:00] /project/src/tirx/op/op.cc:275: Warning: Detected …".
_WARNING = re.compile(rb"\[[\d:]+\] \S+:\d+: Warning: ")


@contextmanager
def without_warnings() -> Iterator[None]:
    """Leave out the warnings that TVM logs inside: they are about its inner code, which the user
    has not written. All else comes after the block; what Python says comes at once.
    """
    sys.stderr.flush()
    with _kept() as kept:
        said = os.memfd_create("edgekiln-native-words")
        os.dup2(said, _STANDARD_ERROR)
        try:
            with _python_to(kept):
                yield
        finally:
            os.dup2(kept, _STANDARD_ERROR)
            _pass_on(said)
            os.close(said)


@contextmanager
def _kept() -> Iterator[int]:
    """Another descriptor of standard error."""
    kept = os.dup(_STANDARD_ERROR)
    try:
        yield kept
    finally:
        os.close(kept)


@contextmanager
def _python_to(kept: int) -> Iterator[None]:
    """Let Python's own stream write to this descriptor, unless it is elsewhere already."""
    try:
        number = sys.stderr.fileno()
    except OSError:  # somebody keeps the words in memory
        number = -1
    if number != _STANDARD_ERROR:
        yield
        return
    with os.fdopen(kept, "w", buffering=1, closefd=False) as stream, redirect_stderr(stream):
        yield


def _pass_on(said: int) -> None:
    lines = Path(f"/proc/self/fd/{said}").read_bytes().splitlines(keepends=True)
    if rest := b"".join(line for line in lines if not _WARNING.match(line)):
        os.write(_STANDARD_ERROR, rest)
