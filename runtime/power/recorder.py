"""A meter's energy over time, so that the joules of any interval can be asked for afterwards."""

import bisect
import threading
import time
from types import TracebackType
from typing import Self

from edgekiln.runtime.power.meter import PowerMeter, SensorError

SHORTEST_PERIOD_S = 0.05  # sampling must not be seen in what is sampled


class PowerRecorder:
    """Samples a meter in a thread, from entering to leaving; times are Unix times in seconds."""

    def __init__(self, meter: PowerMeter) -> None:
        self.meter = meter
        self.period_s = max(meter.update_period_s, SHORTEST_PERIOD_S)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="power recorder", daemon=True)
        self._failure: SensorError | None = None
        self._times: list[float] = []
        self._energies_j: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.meter.close()

    def between(self, start_s: float, end_s: float) -> float:
        """Joules from `start_s`, after entering, to `end_s`, which has passed.

        Raises SensorError when the meter failed meanwhile.
        """
        with self._lock:
            self._sample()
            return self._at(end_s) - self._at(start_s)

    def idle_w(self, seconds: float) -> float:
        """Wait, and give the mean power meanwhile. Raises SensorError."""
        start_s = time.time()
        time.sleep(seconds)
        end_s = time.time()
        return self.between(start_s, end_s) / (end_s - start_s)

    def _run(self) -> None:
        while True:
            with self._lock:
                try:
                    self._sample()
                except SensorError:
                    return  # `between` raises it
            if self._stop.wait(self.period_s):
                return

    def _sample(self) -> None:
        if self._failure:
            raise self._failure
        now_s = time.time()
        try:
            energy_j = self.meter.energy_j()
        except SensorError as error:
            self._failure = error
            raise
        self._times.append(now_s)
        self._energies_j.append(energy_j)

    def _at(self, moment_s: float) -> float:
        """Interpolated between the samples around."""
        after = min(max(bisect.bisect_left(self._times, moment_s), 1), len(self._times) - 1)
        start_s, end_s = self._times[after - 1], self._times[after]
        share = (moment_s - start_s) / (end_s - start_s) if end_s > start_s else 0.0
        low_j, high_j = self._energies_j[after - 1], self._energies_j[after]
        return low_j + min(max(share, 0.0), 1.0) * (high_j - low_j)
