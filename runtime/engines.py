"""What can be benchmarked, behind one interface; the first of them is a compiled program."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from edgekiln.runtime import codec
from edgekiln.runtime.bundle import LIBRARY, RUNNER, ProgramFile, example_name
from edgekiln.runtime.device.admission import admit
from edgekiln.runtime.device.device import Device, Done
from edgekiln.runtime.errors import BundleError, ConfigError, MeasurementError
from edgekiln.runtime.faults import error_from
from edgekiln.runtime.manifest import REBUILD_HINT
from edgekiln.runtime.points import at_point, number
from edgekiln.runtime.program import batch_of
from edgekiln.runtime.results import LayerTime, Trial
from edgekiln.runtime.runner_documents import RunnerReport

HANGS_AFTER = 10.0  # a trial that takes this many times its length hangs
START_SECONDS = 120.0  # for loading and the first inference, on a slow board


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How many threads, and the CPU of each; no CPUs: they roam."""

    threads: int
    cpus: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of an engine besides its latencies, after its trials."""

    engine: Literal["edgekiln", "onnxruntime"]
    engine_version: str
    precision: Literal["int8", "float"]
    model: str
    model_sha256: str
    target: str
    batch: int
    first_inference_s: float
    peak_resident_bytes: int
    program_bytes: int
    arena_bytes: int | None
    layers: tuple[LayerTime, ...]


class Engine(Protocol):
    """Enter it, take trials one by one, ask for the facts, leave it."""

    placement: Placement

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def trial(self, min_seconds: float, warmup_seconds: float) -> Trial:
        """Run inferences for at least `min_seconds`, after a warm-up that does not count."""
        ...

    def facts(self) -> Facts:
        """What holds for all its trials; ask after the first."""
        ...


class ProgramEngine:
    """A `.ekb` or `.lib`: each trial is a process of its executable, on a device that is held."""

    def __init__(
        self,
        program: Path | ProgramFile,
        placement: Placement,
        device: Device,
        *,
        profile: bool = False,
        point: str = "",
    ) -> None:
        """Raises BundleError when it is damaged or made for another machine, ConfigError when it
        has no such point.
        """
        opened = program if isinstance(program, ProgramFile) else ProgramFile.open(program)
        path = opened.path
        self.path, self.placement, self.profile = path, placement, profile
        admit(device, opened)
        self._point = number(opened.spec, point or 0)
        self.spec, self._files = at_point(opened.spec, self._point), opened.files
        self._device = device
        if self.spec.footprint:
            raise BundleError(
                f"{path}: made for {self.spec.target}, of which an emulator tells no times",
                hint="link libmodel.a into a firmware of yours and time model_run there",
            )
        for needed in (RUNNER, LIBRARY):
            if needed not in self._files:
                raise BundleError(f"{path}: has no {needed}", REBUILD_HINT)
        self._reports: list[RunnerReport] = []

    def __enter__(self) -> Self:
        runner = self._device.put(self._files[RUNNER])
        self._names = {runner: RUNNER}
        self._command = [runner, "perf", "--json", "--samples"]
        self._command += ["--threads", str(self.placement.threads)]
        if self.placement.cpus:
            self._command += ["--cpu", ",".join(map(str, self.placement.cpus))]
        if self._point:
            self._command += ["--point", str(self._point)]
        for index in range(len(self.spec.inputs)):
            example = self._files.get(example_name("input", index))
            if example is None:
                break  # the runner takes zeros
            place = self._device.put(example)
            self._names[place] = example_name("input", index)
            self._command += ["--input", place]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """The device keeps the files until it is given back."""

    def trial(self, min_seconds: float, warmup_seconds: float) -> Trial:
        report = self._perf(min_seconds, warmup_seconds)
        # The board's clock may be any hours off: its trial ended just now by ours.
        ahead_s = 0.0 if self._device.shares_clock else time.time() - report.finished_s
        self._reports.append(report)
        (trial,) = report.trials
        return replace(trial, started_s=trial.started_s + ahead_s)

    def facts(self) -> Facts:
        first = self._reports[0]
        spec = self.spec
        return Facts(
            engine="edgekiln",
            engine_version=metadata.version("edgekiln"),
            precision="int8" if any(layer.integer for layer in spec.layers) else "float",
            model=f"{spec.name} at {spec.point}" if spec.point else spec.name,
            model_sha256=spec.model_sha256,
            target=spec.target,
            batch=batch_of(spec) or 1,
            first_inference_s=first.first_inference_s,
            peak_resident_bytes=max(report.peak_rss_bytes for report in self._reports),
            program_bytes=len(self._files[LIBRARY]),
            arena_bytes=spec.arena_bytes,
            layers=self._layers() if self.profile else (),
        )

    def _layers(self) -> tuple[LayerTime, ...]:
        report = self._perf(0.0, 0.0, "--profile")
        return tuple(
            LayerTime(
                name=layer.name,
                op=layer.op,
                integer=layer.integer,
                macs=layer.macs,
                latency_s=timed.median_s,
                shared=bool(timed.threads_share),
            )
            for layer, timed in zip(self.spec.layers, report.layers, strict=True)
        )

    def _perf(self, min_seconds: float, warmup_seconds: float, *extra: str) -> RunnerReport:
        lengths = ("--min-seconds", str(min_seconds), "--warmup-seconds", str(warmup_seconds))
        command = [*self._command, "--trials", "1", *lengths, *extra]
        # The length that was asked for is the least: a slow inference is finished, too.
        limit = START_SECONDS + HANGS_AFTER * (min_seconds + warmup_seconds)
        try:
            done = run_runner(self._device, command, limit, str(self.path), self._names)
            report = codec.decode(RunnerReport, codec.loads(done.stdout))
            self._check(report, layers="--profile" in extra)
            return report
        except (ConfigError, ValueError) as error:  # it does not know our options, or we its answer
            raise MeasurementError(
                f"{self.path}: the runner is of another version: {error}",
                hint="use the EdgeKiln version that built it, or build it again",
            ) from error

    def _check(self, report: RunnerReport, *, layers: bool) -> None:
        """Raises ValueError for what this EdgeKiln's runner does not say."""
        (trial,) = report.trials  # one a process, so that engines can take turns
        if trial.median_s <= 0 or trial.samples < 1:
            raise ValueError("a trial without time")
        if layers and len(report.layers) != len(self.spec.layers):
            raise ValueError(f"{len(report.layers)} layers of {len(self.spec.layers)}")


def run_runner(
    device: Device, command: Sequence[str], timeout_s: float, where: str, names: Mapping[str, str]
) -> Done:
    """Run a bundle's executable.

    Args:
        where: names the bundle in errors.
        names: path on the device → what users know the file by.

    Raises:
        MeasurementError: it hangs or cannot be started.
        EdgeKilnError: the one it ended with.
    """
    try:
        done = device.run(command, timeout_s)
    except TimeoutError as error:
        raise hung(f"{where}: the runner", timeout_s) from error
    except OSError as error:
        raise MeasurementError(
            f"{where}: cannot start the runner: {error.strerror}",
            hint="set TMPDIR, or `dir` of the device, to where programs may be started from",
        ) from error
    if done.exit_code:
        stderr = done.stderr
        for place, name in names.items():
            stderr = stderr.replace(place, name)
        raise error_from(done.exit_code, stderr, f"{where}: the runner")
    return done


def hung(what: str, limit: float) -> MeasurementError:
    """The error of an engine that does not answer."""
    return MeasurementError(
        f"{what} did not answer within {limit:.0f} s", hint="is the machine busy or out of memory?"
    )
