"""Work under a lease: while it lasts, nobody else uses the device; the connection may be lost."""

import time
from collections.abc import Callable
from typing import TypeVar

from edgekiln.runtime.errors import DeviceError

T = TypeVar("T")
ATTEMPTS = 3
PAUSE_S = 1.0  # before the second attempt, twice that before the third


class ConnectionLost(Exception):  # noqa: N818  # a fact that is handled, until it stays one
    """The way to the device broke; the text says how."""


def attempt(
    action: Callable[[], T],
    *,
    acquire: Callable[[], None],
    release: Callable[[], None],
    device: str,
    question: str,
    again: Callable[[ConnectionLost], None] = lambda _lost: None,
) -> T:
    """Do it under the lease of the device; after a lost connection, acquire the lease again.

    Args:
        acquire: does nothing while the lease is held.
        device: its name, for the error.
        question: what the user should ask himself then.
        again: told of each loss after which it is tried again.

    Raises:
        DeviceError: the last attempt failed, too.
    """
    for number in range(1, ATTEMPTS + 1):
        try:
            acquire()
            return action()
        except ConnectionLost as error:
            release()
            if number == ATTEMPTS:
                raise DeviceError(
                    f"{device}: connection lost: {error}",
                    hint=f"tried {ATTEMPTS} times; {question}",
                ) from error
            again(error)
            time.sleep(PAUSE_S * number)
    # The last attempt has returned or raised.
    raise AssertionError
