"""Programs that what a board's server started has left behind, in sessions of their own.

The kernel gives them to the server when their parents end; it then ends them, too.
"""

import contextlib
import ctypes
import os
import signal
from pathlib import Path

_LIBC = ctypes.CDLL(None)
_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37  # prctl(2)
_ROUNDS = 100  # a stray's own children are given to us when it ends


def adopt() -> None:
    """Let this process be given what its descendants leave behind, from now on; for one that
    starts nothing but programs that shall end.
    """
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end() -> None:
    """End all children of this process, and theirs; nothing in one that did not `adopt`."""
    adopts = ctypes.c_int()
    _LIBC.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(adopts), 0, 0, 0)
    for _ in range(_ROUNDS if adopts.value else 0):
        children = _children()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
        if not children:
            return


def _children() -> list[int]:
    return [
        int(child)
        for task in Path("/proc/self/task").iterdir()
        for child in (task / "children").read_text(encoding="ascii").split()
    ]
