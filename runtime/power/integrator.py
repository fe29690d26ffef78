"""Joules from a sensor that only knows watts."""

import threading
import time
from collections.abc import Callable

from edgekiln.runtime.power.meter import SensorError


class Integrator:
    """A meter made of readings of power: trapezoids between the samples of a thread.

    The thread starts with the first `energy_j` and samples every `update_period_s`; each call of
    `energy_j` is a sample, too.
    """

    def __init__(
        self, name: str, scope: str, watts: Callable[[], float], update_period_s: float
    ) -> None:
        """Reads it once. `watts` raises SensorError when the sensor fails."""
        watts()
        self.name, self.scope, self.update_period_s = name, scope, update_period_s
        self._watts = watts
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: SensorError | None = None
        self._total_j = 0.0
        self._last: tuple[float, float] | None = None  # seconds, watts

    def energy_j(self) -> float:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()
            self._sample()
            return self._total_j

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self.update_period_s):
            with self._lock:
                try:
                    self._sample()
                except SensorError:
                    return  # `energy_j` raises it

    def _sample(self) -> None:
        if self._failure:
            raise self._failure  # a sum with a hole in it is no sum
        try:
            watts = self._watts()
        except SensorError as error:
            self._failure = error
            raise
        now = time.monotonic()
        if self._last is not None:
            since, before = self._last
            self._total_j += (now - since) * (before + watts) / 2
        self._last = (now, watts)
