"""How processes end: by SIGTERM as by Ctrl-C, tidily; and with the one that started them."""

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # prctl(2)


class TerminatedError(KeyboardInterrupt):
    """SIGTERM came. Whoever tidies up at Ctrl-C does so for this, too."""


@contextmanager
def unwound_by_sigterm() -> Iterator[None]:
    """Let SIGTERM raise `TerminatedError` in the block, which by itself would end the process with
    its files and children left behind. Where somebody ignores or handles it, that stays.
    """
    own = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if own:
        signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        if own:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """Raise TerminatedError, as a handler of signals."""
    raise TerminatedError


def end_with_parent(number: signal.Signals) -> None:
    """Let the kernel send this process a signal when its parent ends, however that ends.

    Called in the child; also between fork and exec, where nothing may be imported any more.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)
