"""Signals end a process wherever they come."""

import os
import signal
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from edgekiln.runtime.termination import TerminatedError, sent_again, unwound_by_sigterm

LONG_S = 20.0


class Unlucky:
    """A signal comes while it goes."""

    number: signal.Signals

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self.number)
        time.sleep(0.01)


class Target:
    pass


def in_a_finalizer(number: signal.Signals) -> None:
    Unlucky(number)


def as_a_reference_is_cleared(number: signal.Signals) -> None:
    def cleared(_reference: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(0.01)

    target = Target()
    reference = weakref.ref(target, cleared)
    del target
    assert reference() is None


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    # What a shell starts in the background ignores Ctrl-C.
    own = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in own.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("when", [in_a_finalizer, as_a_reference_is_cleared])
@pytest.mark.parametrize(
    ("number", "raised"),
    [(signal.SIGTERM, TerminatedError), (signal.SIGINT, KeyboardInterrupt)],
)
def test_a_signal_that_comes_where_python_drops_exceptions_is_not_lost(
    number: signal.Signals, raised: type[BaseException], when: Callable[[signal.Signals], None]
) -> None:
    def interrupted() -> None:
        with unwound_by_sigterm():
            when(number)
            time.sleep(LONG_S)

    begin = time.monotonic()
    with pytest.raises(raised):
        interrupted()
    assert time.monotonic() - begin < LONG_S / 2


def test_what_else_is_dropped_is_told_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __del__(self) -> None:
            raise ValueError("broken")

    told: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", lambda lost: told.append(lost.exc_type))
    with sent_again({SystemExit: signal.SIGTERM}):
        Broken()
    assert told == [ValueError]
