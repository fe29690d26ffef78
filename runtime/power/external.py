"""A meter beside the machine, read as text while it measures: a growing file or a serial line.

A line is `t,watts` or `t,volts,amperes`; `#` begins a comment, and a line of words is a heading. In
a file, t is Unix time in seconds. On a serial line it is the meter's own clock, also in seconds:
the line that travelled fastest tells how the two clocks differ.
"""

import os
import stat
import statistics
import termios
import time
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path

from edgekiln.runtime.power.meter import SensorError

LINE_TIMEOUT_S = 5.0  # for the meter to write the next line
FIRST_LINES = 4  # from which the period is learnt
POLL_S = 0.02
LINE_BYTES = 4096
FORM_HINT = "lines are t,watts or t,volts,amperes; t in seconds (Unix time in a file)"


class ExternalMeter:
    """Energy up to now: each reading waits until the meter has written about this moment."""

    name = "external"

    def __init__(self, path: Path) -> None:
        """Raises SensorError when nobody writes to it."""
        self.path = path
        self.scope = f"what {path} measures"
        self._rest = b""
        self._line = 0
        self._times: list[float] = []  # the meter's clock
        self._totals_j: list[float] = []
        self._watts = 0.0  # of the last line
        self._lag_s = 0.0  # our clock minus the meter's
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as error:
            raise SensorError(f"{path}: {error.strerror}", hint=FORM_HINT) from error
        self._serial = stat.S_ISCHR(os.fstat(self._file).st_mode)
        try:
            if self._serial:
                self._use_line()
            self._wait(lambda: len(self._times) >= FIRST_LINES)
        except SensorError:
            self.close()
            raise
        steps = [
            after - before for before, after in zip(self._times, self._times[1:], strict=False)
        ]
        self.update_period_s = statistics.median(steps)

    def energy_j(self) -> float:
        now = time.time()
        self._wait(lambda: self._times[-1] + self._lag_s >= now)
        return self._at(now - self._lag_s)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _use_line(self) -> None:
        """Bytes as they come; the speed stays what `stty` set."""
        try:
            mode = termios.tcgetattr(self._file)
        except termios.error as error:
            raise SensorError(f"{self.path}: not a serial line", hint=FORM_HINT) from error
        mode[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG)
        termios.tcsetattr(self._file, termios.TCSANOW, mode)
        termios.tcflush(self._file, termios.TCIFLUSH)
        self._line = -1  # the first line may have lost its beginning

    def _wait(self, enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LINE_TIMEOUT_S
        while True:
            while self._read():  # all that is there, without a pause in which more comes
                pass
            if enough():
                return
            if time.monotonic() > deadline:
                raise SensorError(
                    f"{self.path}: nothing new for {LINE_TIMEOUT_S:.0f} s"
                    if self._times
                    else f"{self.path}: no samples",
                    hint="the meter must write while the benchmark runs; " + FORM_HINT,
                )
            time.sleep(POLL_S)

    def _read(self) -> bool:
        """Take in what was written; whether there was anything."""
        try:
            new = os.read(self._file, LINE_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            raise SensorError(f"{self.path}: {error.strerror}", hint="was it unplugged?") from error
        arrival = time.time()
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            self._line += 1
            if self._line > 0:
                self._add(line.decode(errors="replace"), arrival)
        return bool(new)

    def _add(self, line: str, arrival: float) -> None:
        text = line.partition("#")[0].strip()
        cells = [cell.strip() for cell in text.split(",")]
        if not text or (not self._times and not _is_number(cells[0])):
            return
        if len(cells) not in (2, 3) or not all(map(_is_number, cells)):
            raise SensorError(f"{self.path}: line {self._line}: {line!r}", hint=FORM_HINT)
        moment, *factors = map(float, cells)
        watts = factors[0] * (factors[1] if len(factors) == 2 else 1.0)
        if self._times and moment <= self._times[-1]:
            raise SensorError(
                f"{self.path}: line {self._line}: its time is not later", hint=FORM_HINT
            )
        if self._serial:
            lag = arrival - moment
            self._lag_s = min(self._lag_s, lag) if self._times else lag
        gained = (moment - self._times[-1]) * (self._watts + watts) / 2 if self._times else 0.0
        self._totals_j.append(gained + (self._totals_j[-1] if self._totals_j else 0.0))
        self._times.append(moment)
        self._watts = watts

    def _at(self, moment: float) -> float:
        """Interpolated; `moment` is not behind the last line."""
        after = bisect_left(self._times, moment)
        if after == 0:
            return self._totals_j[0]
        span = self._times[after] - self._times[after - 1]
        share = (moment - self._times[after - 1]) / span
        return self._totals_j[after - 1] * (1 - share) + self._totals_j[after] * share


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
