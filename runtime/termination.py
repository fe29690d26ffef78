"""How processes end: by SIGTERM as by Ctrl-C, tidily; and with the one that started them."""

import ctypes
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

# In the environment of a process: who started it, by its number, watches it, and tells the user why
# it ended.
WATCHED = "EDGEKILN_WATCHED"
_AGAIN_S = 0.05  # until a signal whose exception was lost is sent again
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
        with sent_again({TerminatedError: signal.SIGTERM, KeyboardInterrupt: signal.SIGINT}):
            yield
    finally:
        if own:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def sent_again(raised: Mapping[type[BaseException], signal.Signals]) -> Iterator[None]:
    """Send a signal again whose exception was lost in the block: a signal comes wherever it comes,
    and what is raised in a finalizer, or as a weak reference is cleared, Python prints and drops.

    Args:
        raised: what the handlers of these signals raise.
    """
    before = sys.unraisablehook

    def hook(lost: "UnraisableHookArgs") -> None:
        number = raised.get(lost.exc_type)
        if number is None:
            before(lost)
            return
        # To the thread whose handlers run: another one would not wake it.
        main = threading.main_thread().ident
        timer = threading.Timer(_AGAIN_S, signal.pthread_kill, (main, number))
        timer.daemon = True
        timer.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """Raise TerminatedError, as a handler of signals."""
    raise TerminatedError


def end_with_parent(number: signal.Signals) -> None:
    """Let the kernel send this process a signal when its parent ends, however that ends.

    Called in the child; also between fork and exec, where nothing may be imported any more.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)
