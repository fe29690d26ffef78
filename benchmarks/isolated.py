"""A function in a process of its own, with limits of time and memory: all it does is a result.

The process is forked, so what the caller has imported is there at once.
"""

import json
import os
import resource
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Literal

# right; wrong: other numbers, shapes or types than they must be, or accepted though it must not be;
# refused: an error of ours that names a reason; traceback: any other error; crash: the process
# died; hang: it took too long.
Verdict = Literal["right", "wrong", "refused", "traceback", "crash", "hang"]
BAD: tuple[Verdict, ...] = ("wrong", "traceback", "crash", "hang")

SECONDS = 60
MEMORY_BYTES = 4 << 30  # of data, above what the process has when it starts
_WORDS = 300  # of a detail, in characters


def isolated(
    function: Callable[[], tuple[Verdict, str]], seconds: int = SECONDS
) -> tuple[Verdict, str]:
    """The function's verdict and its detail, or what became of the process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _in_the_child(function, writing, seconds)
    os.close(writing)
    # The child holds the only other end: when it dies in any way, reading ends.
    with os.fdopen(reading, "rb") as stream:
        answer = stream.read()
    _, status = os.waitpid(child, 0)
    if answer:
        verdict, detail = json.loads(answer)
        return verdict, detail
    if not os.WIFSIGNALED(status):
        return "crash", "the process ended without an answer"
    if os.WTERMSIG(status) == signal.SIGALRM:
        return "hang", f"more than {seconds} s"
    return "crash", f"ended by signal {os.WTERMSIG(status)}"


def _in_the_child(function: Callable[[], tuple[Verdict, str]], writing: int, seconds: int) -> None:
    """Run the case and end the process; it never returns."""
    # By default the alarm ends the process, also while native code runs and no handler would be
    # called.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    limit = MEMORY_BYTES + _data_bytes()
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with Path(os.devnull).open("wb") as nothing:  # what native code prints
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    try:
        verdict, detail = function()
    except BaseException as error:
        verdict, detail = "traceback", describe(error)
    # Short enough for the pipe to take at once, whether or not anybody reads yet.
    os.write(writing, json.dumps((verdict, detail[:_WORDS])).encode())
    # No handlers at exit: those are the parent's.
    os._exit(0)


def describe(error: BaseException) -> str:
    """An unexpected error in a line: what, and the innermost place in our own code."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    ours = [f for f in frames if "edgekiln" in f.filename and "site-packages" not in f.filename]
    place = (ours or frames)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"


def _data_bytes() -> int:
    # The sixth number of statm: data and stack.
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    return pages * resource.getpagesize()
