"""Where a board's server meets those who call: who does not know the password stays outside."""

import secrets
import select
import socket
import time
from dataclasses import dataclass, field

from edgekiln.runtime.device import wire
from edgekiln.runtime.device.farm_job import FarmJob, valid_job
from edgekiln.runtime.device.lease import ConnectionLost
from edgekiln.runtime.errors import DeviceError

HELLO_S = 10.0  # for a caller to say who it is, all in all
MAX_CALLERS = 64  # at the door at once; the one that has stood there longest goes


@dataclass(kw_only=True)
class _Caller:
    """Somebody who has not said everything yet."""

    until: float  # by `time.monotonic`
    said: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, kw_only=True)
class Guest:
    """Somebody who knew the password."""

    connection: socket.socket
    job: FarmJob | None  # None: they do not say, or not in words that can be shown


class Doorway:
    """All callers are listened to at once, so that none keeps the others waiting by silence."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._callers: dict[socket.socket, _Caller] = {}

    def guest(self, password: str, seconds: float) -> Guest | None:
        """Whoever says hello with the password; None when nobody does for so long.

        All other callers are sent away then.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([self._listener, *self._callers], [], [], left)
            for each in ready:
                if each is self._listener:
                    self._meet()
                elif hello := self._heard(each, password):
                    del self._callers[each]
                    self.close()
                    return Guest(connection=each, job=valid_job(hello.get("job")))
            self._send_away([c for c, at in self._callers.items() if at.until < time.monotonic()])
        return None

    def close(self) -> None:
        """Send all callers away; the listener goes on."""
        self._send_away(list(self._callers))

    def _meet(self) -> None:
        try:
            caller, _ = self._listener.accept()
        except OSError:  # it has gone again
            return
        caller.setblocking(False)
        if len(self._callers) == MAX_CALLERS:
            self._send_away([next(iter(self._callers))])
        self._callers[caller] = _Caller(until=time.monotonic() + HELLO_S)

    def _heard(self, caller: socket.socket, password: str) -> dict[str, object] | None:
        """The hello of a caller who knows the password, once all of it has come; one with another
        password is told so, and sent away.
        """
        if caller not in self._callers:  # sent away for one who came in the same moment
            return None
        said = self._callers[caller].said
        try:
            part = caller.recv(wire.MAX_HELLO)
            said += part
            hello = wire.opening(bytes(said))
            if hello is None and part:
                return None
            if hello is not None:
                known = _equal(str(hello.get("password")), password)
                caller.settimeout(HELLO_S)  # a few bytes: there is room for them
                if known and hello.get("protocol") == wire.PROTOCOL:
                    wire.send(caller, {})
                    wire.keep_alive(caller)
                    return hello
                reason = "speaks another protocol than this board" if known else "has no password"
                fault = {"exit_code": DeviceError.exit_code, "message": f"a client {reason}"}
                wire.send(caller, {"fault": {**fault, "hint": "install the same EdgeKiln on both"}})
        except (OSError, ConnectionLost):
            pass
        self._send_away([caller])
        return None

    def _send_away(self, callers: list[socket.socket]) -> None:
        for caller in callers:
            del self._callers[caller]
            caller.close()


def _equal(a: str, b: str) -> bool:
    """Compare in a time that does not tell how much of it is right."""
    return secrets.compare_digest(a.encode(), b.encode())
