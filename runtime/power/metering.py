"""Energy beside latency: a baseline, the trials, a baseline, all from one run."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

from edgekiln.runtime.device.device import LOCAL, Device
from edgekiln.runtime.device.shell_device import ShellDevice
from edgekiln.runtime.errors import ConfigError, MeasurementError
from edgekiln.runtime.power.choice import Unavailable, choose, files, is_external
from edgekiln.runtime.power.energy import (
    Energy,
    TrialWindow,
    check_length,
    energy_of,
    idle_seconds,
)
from edgekiln.runtime.power.meter import PowerMeter
from edgekiln.runtime.power.recorder import SHORTEST_PERIOD_S, PowerRecorder
from edgekiln.runtime.power.remote_sysfs import RemoteSysfsPoller


class Metering:
    """The meter of a benchmark. Enter it, take `baseline`s around the trials, ask for `energy`.

    A meter that was found ("auto") and fails costs the run its energy and leaves a reason; one that
    was asked for by name ends the run with SensorError.
    """

    def __init__(self, spec: str, trial_s: float, device: Device) -> None:
        """
        Args:
            spec: as of `choice.choose`.
            trial_s: the shortest length of a trial.
            device: held, and what the joules are of.
        """
        self.unavailable = ""
        self._spec, self._trial_s, self._device = spec, trial_s, device
        self._running = ExitStack()
        self._recorder: PowerRecorder | None = None
        self._idle_w: list[float] = []
        self._copies = ""  # where they are, of the device's files

    def __enter__(self) -> Self:
        with self._failing():
            here = self._device.name == LOCAL or self._spec == "none" or is_external(self._spec)
            meter = choose(self._spec) if here else self._afar()
            if isinstance(meter, Unavailable):
                self.unavailable = meter.reason
            else:
                self._recorder = self._running.enter_context(PowerRecorder(meter))
                check_length(self._recorder, self._trial_s)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running.close()

    def baseline(self) -> None:
        """Wait, and note what the machine takes meanwhile; nothing where nothing is measured."""
        with self._failing():
            if self._recorder is not None:
                self._idle_w.append(
                    self._recorder.idle_w(idle_seconds(self._recorder, self._trial_s))
                )

    def energy(self, windows: Sequence[TrialWindow]) -> Energy | None:
        """After both baselines; None: see `unavailable`."""
        with self._failing():
            if self._recorder is not None:
                before_w, after_w = self._idle_w
                return energy_of(
                    self._recorder, windows, idle_before_w=before_w, idle_after_w=after_w
                )
        return None

    def _afar(self) -> PowerMeter | Unavailable:
        """The board's own sensors, where there is a shell to read them by."""
        patterns = files(self._spec)
        if not isinstance(self._device, ShellDevice) or not patterns:
            reason = f"{self._spec} of {self._device.name} cannot be read from here"
            if self._spec == "auto":
                return Unavailable(reason=reason)
            raise ConfigError(
                reason,
                hint="there: python -m edgekiln.runtime bench; here: a meter's .csv file",
            )
        poller = self._running.enter_context(RemoteSysfsPoller(self._device))
        self._copies = f"{poller.root}/"
        poller.follow(patterns, SHORTEST_PERIOD_S)
        meter = choose(self._spec, poller.root)
        if not isinstance(meter, Unavailable):
            # Only the chosen sensor's files from now on, and no faster than it has news.
            poller.follow(files(meter.name), max(meter.update_period_s, SHORTEST_PERIOD_S))
        return meter

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except MeasurementError as error:
            if self._copies:  # the user knows the files by their names on the board
                error.message = error.message.replace(self._copies, f"{self._device.name}:/")
            self._running.close()
            self._recorder = None
            if self._spec != "auto":
                raise
            self.unavailable = f"{error.message} ({error.hint})"
