"""The board's side of `rpc`: it offers itself to a tracker, one session after the other.

A session belongs to whoever the tracker gave its password. It may store files by their content,
start those and read what they print; it names no paths: files lie in a folder of the server's own,
and no argument of a program may lead out of it. Where keys are given, only the executables of
bundles that these have signed are started, and the board itself verifies that.
"""

import contextlib
import ipaddress
import secrets
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from edgekiln.runtime.device import strays
from edgekiln.runtime.device.doorway import HELLO_S, Doorway, Guest
from edgekiln.runtime.device.farm_job import FarmJob
from edgekiln.runtime.device.farm_view import BoardNews
from edgekiln.runtime.device.lease import ConnectionLost
from edgekiln.runtime.device.session import ClientSession, kept_folder
from edgekiln.runtime.device.tracker import TRACKER_HINT, TrackerConnection, tracker_address
from edgekiln.runtime.errors import ConfigError, DeviceError
from edgekiln.runtime.signature import require_keys
from edgekiln.runtime.termination import sent_again
from edgekiln.runtime.trust import machine_signers

BACKLOG = 4096  # who looks whether the board is there, as `devices status`, during a session
PORTS = 100  # tried, from the one that is asked for on
PAUSE_S = 2.0  # between looks at the tracker, and attempts to reach it again
_AGAIN = signal.SIGALRM  # in place of a signal whose exception was lost: those are ignored then


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What is given to a tracker, and on which terms."""

    tracker: tuple[str, int]
    key: str
    address: str  # listened at, and where clients reach this machine
    port: int  # the first that is tried
    signers: Path | None = None  # whose bundles run here; None: anybody's

    @property
    def public_address(self) -> str | None:
        """None for all interfaces: clients then take the one that the tracker sees."""
        return None if ipaddress.ip_address(self.address).is_unspecified else self.address

    def warnings(self) -> tuple[str, ...]:
        """What those should know who start the server."""
        if ipaddress.ip_address(self.address).is_loopback:
            return ()
        found = f"{self.address} can be reached from other machines, without a password"
        if self.signers is None:
            return (f"{found}: whoever the tracker lets in runs any program here as this user",)
        return (f"{found}; only what {self.signers.name} has signed runs here",)


def offer_of(
    tracker: str, key: str, *, address: str = "127.0.0.1", port: int = 9090,
    signers: Path | None = None,
) -> Offer:  # fmt: skip
    """An offer as a user words it; without `signers`, the machine's own policy demands them.

    Raises ConfigError for what is no "host:port" or no IP address, or without a home directory,
    InputError without keys.
    """
    signers = signers or machine_signers()
    tracker_place = tracker_address(tracker)
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise ConfigError(
            f"address = {address!r}", hint="give an IP address of this machine, e.g. 127.0.0.1"
        ) from error
    if not 0 < port < 65536:
        raise ConfigError(f"port = {port}", hint="ports are 1 to 65535")
    if signers is not None:
        require_keys(signers)
    kept_folder()  # before a client comes
    return Offer(tracker=tracker_place, key=key, address=address, port=port, signers=signers)


class BoardServer:
    """Enter it to be offered; `serve` until something ends it; leave it to be gone."""

    def __init__(self, offer: Offer) -> None:
        """Raises DeviceError: the tracker cannot be reached, or no port is free."""
        self._offer = offer
        self._listener = _listen(offer)
        self._doorway = Doorway(self._listener)
        self.port: int = self._listener.getsockname()[1]
        try:
            self._tracker = self._announce()
        except ConnectionLost as error:
            self._listener.close()
            raise DeviceError(
                f"cannot serve at {offer.address}:{self.port}: {error}", TRACKER_HINT
            ) from error

    def close(self) -> None:
        """The tracker forgets a board whose connection ends."""
        self._tracker.close()
        self._doorway.close()
        self._listener.close()

    def serve(self) -> None:
        """Sessions, one after the other, until an exception, such as a signal's, ends it."""
        try:
            while True:
                try:
                    guest = self._next_guest()
                    with guest.connection as client:
                        self._tell_busy(guest.job)
                        ClientSession(client, self._offer.signers).serve()
                    self._tell(self._tracker, busy=False)
                except ConnectionLost:
                    self._reach_again()
        finally:
            self.close()

    def _announce(self) -> TrackerConnection:
        tracker = TrackerConnection(self._offer.tracker)
        try:
            self._tell(tracker, busy=False)
        except BaseException:
            tracker.close()
            raise
        return tracker

    def _tell(self, tracker: TrackerConnection, *, busy: bool, job: FarmJob | None = None) -> None:
        news = BoardNews(busy=busy, since_s=time.time(), job=job)
        tracker.announce_board(self._offer.key, self._offer.public_address, self.port, news)

    def _tell_busy(self, job: FarmJob | None) -> None:
        """Before anything of the session runs. A tracker that is gone is reached again after it."""
        try:
            self._tell(self._tracker, busy=True, job=job)
        except ConnectionLost:
            self._tracker.close()

    def _reach_again(self) -> None:
        """After the tracker was lost, however long that lasts."""
        self._tracker.close()
        while True:
            with contextlib.suppress(ConnectionLost):
                self._tracker = self._announce()
                return
            time.sleep(PAUSE_S)

    def _next_guest(self) -> Guest:
        """Whoever knows the password of an offer. Raises ConnectionLost: of the tracker."""
        password = self._put()
        given_since: float | None = None
        while True:
            if guest := self._doorway.guest(password, PAUSE_S):
                return guest
            if password in self._tracker.offered():
                continue
            given_since = given_since or time.monotonic()
            if time.monotonic() - given_since > HELLO_S:  # whom it was given to does not come
                password, given_since = self._put(), None

    def _put(self) -> str:
        password = f"{self._offer.key}:{secrets.token_hex(16)}"
        self._tracker.offer(self._offer.key, self._offer.public_address, self.port, password)
        return password


def run(offer: Offer) -> None:
    """Serve until SIGTERM or SIGINT, and say so; called in the main thread, as signals want it.

    At the end the programs of a session are ended, and the tracker forgets this machine.

    Raises DeviceError: the tracker cannot be reached, or no port is free.
    """
    server = BoardServer(offer)
    # Before anyone is told that it serves: who hears it may end it at once.
    for number in (signal.SIGTERM, signal.SIGINT, _AGAIN):
        signal.signal(number, _end)
    strays.adopt()
    for warning in offer.warnings():
        print(f"warning: {warning}", file=sys.stderr)
    tracker = f"{offer.tracker[0]}:{offer.tracker[1]}"
    print(
        f"serving as {offer.key!r} at {offer.address}:{server.port}, for the tracker at {tracker}",
        flush=True,
    )
    try:
        with sent_again({KeyboardInterrupt: _AGAIN}):
            server.serve()
    except KeyboardInterrupt:
        pass
    finally:
        strays.end()
        server.close()
    print("ended; the tracker no longer gives this machine out", flush=True)


def _end(_number: int, _frame: FrameType | None) -> None:
    """Called at the first signal: a second one must not break off what this one began, such as
    ending programs and removing files.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _listen(offer: Offer) -> socket.socket:
    """Listen at the first free port from `offer.port` on."""
    version = ipaddress.ip_address(offer.address).version
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    reason = ""
    for port in range(offer.port, min(offer.port + PORTS, 65536)):
        listener = socket.socket(family)
        try:
            listener.bind((offer.address, port))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            reason = error.strerror or str(error)
            continue
        return listener
    raise DeviceError(
        f"cannot serve at {offer.address}:{offer.port}: {reason}",
        hint="give another --port, or an --address of this machine",
    )
