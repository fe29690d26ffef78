"""Benchmarks: a bundle's own executable and ONNX Runtime, their trials in turn."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edgekiln.runtime import host
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.device.device import Device
from edgekiln.runtime.device.local import LocalDevice
from edgekiln.runtime.engines import Engine, Placement, ProgramEngine
from edgekiln.runtime.errors import ConfigError, MeasurementError
from edgekiln.runtime.ort_engine import OrtEngine
from edgekiln.runtime.power.energy import TrialWindow
from edgekiln.runtime.power.metering import Metering
from edgekiln.runtime.program import batch_of
from edgekiln.runtime.results import (
    NOISY_SPREAD,
    BenchResult,
    Trial,
    over_trials,
    warnings_for,
)

TRIALS = 5
MIN_SECONDS = 10.0
MAX_SECONDS = 24 * 3600.0  # of a trial
MAX_TRIALS = 10_000
REPLACED = "replaced: a board was lost meanwhile, its trials may be of different boards"
WARMUP_SECONDS = 1.0  # before each trial; less when trials are shorter than that


def bench(
    bundle: Path,
    *,
    trials: int = TRIALS,
    min_seconds: float = MIN_SECONDS,
    threads: int = 1,
    profile: bool = False,
    cpu: int | None = None,
    power: str = "none",
    device: Device | None = None,
) -> BenchResult:
    """Latency of a bundle, by its own executable, and where asked for its energy.

    Args:
        threads: they share the work of one inference.
        profile: time every layer as well, after the trials.
        cpu: pin the threads to this CPU and those behind it.
        power: "auto", "none", a meter's name or its file: see `edgekiln.runtime.power.choice`.
        device: where it runs; None: this machine.

    Raises:
        BundleError: damaged, or made for another machine.
        MeasurementError: the program failed or hung; or the meter that `power` names.
        DeviceError: busy, not reachable or lost.
    """
    return compare(
        bundle,
        (),
        trials=trials,
        min_seconds=min_seconds,
        threads=threads,
        profile=profile,
        cpu=cpu,
        power=power,
        device=device,
    )[0]


def bench_onnx(
    model: Path,
    *,
    trials: int = TRIALS,
    min_seconds: float = MIN_SECONDS,
    threads: int = 1,
    cpu: int | None = None,
) -> BenchResult:
    """Latency of ONNX Runtime on a float or QDQ model, measured the same way.

    Raises:
        MissingToolError: ONNX Runtime is not installed.
        InputError: it refuses the model.
        MeasurementError: it failed or hung.
    """
    with LocalDevice() as here:
        engine = OrtEngine(model, placement(threads, cpu, here.affinity()))
        return interleave([engine], here, trials=trials, min_seconds=min_seconds)[0]


def compare(
    bundle: Path | ProgramFile,
    models: Sequence[Path],
    *,
    trials: int = TRIALS,
    min_seconds: float = MIN_SECONDS,
    threads: int = 1,
    profile: bool = False,
    cpu: int | None = None,
    power: str = "none",
    device: Device | None = None,
    signers: Path | None = None,
    point: str = "",
) -> list[BenchResult]:
    """The bundle, then ONNX Runtime on each of `models`, in one run. Raises as the two above.

    ONNX Runtime runs on this machine only: without `device`, and so beside the bundle.

    Args:
        signers: who must have signed the bundle; None: as the device has it.
        point: the operating point, by name or number; the first if not said.
    """
    with measuring(device, signers) as where:
        place = placement(threads, cpu, where.affinity())
        opened = bundle if isinstance(bundle, ProgramFile) else ProgramFile.open(bundle)
        ours = ProgramEngine(opened, place, where, profile=profile, point=point or 0)
        batch = batch_of(ours.spec) or 1
        engines: list[Engine] = [ours]
        engines += [OrtEngine(model, place, batch=batch) for model in models]
        return interleave(engines, where, trials=trials, min_seconds=min_seconds, power=power)


def measuring(device: Device | None, signers: Path | None) -> Device:
    """The device to measure on, this machine if none is given, with those who must have signed.

    Raises ConfigError: it emulates.
    """
    where = LocalDevice() if device is None else device
    # Who is named in the call goes before what the device has.
    where.signers = signers or where.signers
    if not where.measures:
        raise ConfigError(
            f"{where.name} emulates: its latency would mean nothing",
            hint="measure on the device itself; `edgekiln devices check` runs the bundle's example",
        )
    return where


def bench_together(
    bundles: Sequence[Path],
    *,
    trials: int = TRIALS,
    min_seconds: float = MIN_SECONDS,
    power: str = "none",
    device: Device | None = None,
) -> list[BenchResult]:
    """Latencies of several bundles on one device, their trials in turn, so that they can be
    compared. Raises as `bench`.
    """
    with LocalDevice() if device is None else device as where:
        place = placement(1, None, where.affinity())
        engines = [ProgramEngine(ProgramFile.open(bundle), place, where) for bundle in bundles]
        return interleave(engines, where, trials=trials, min_seconds=min_seconds, power=power)


def interleave(
    engines: Sequence[Engine],
    device: Device,
    *,
    trials: int = TRIALS,
    min_seconds: float = MIN_SECONDS,
    power: str = "none",
) -> list[BenchResult]:
    """Run trials in turn, A B A B …, so that a drifting machine treats all engines alike.

    `device` is held, and what they run on.
    """
    if not 1 <= trials <= MAX_TRIALS:
        raise ConfigError(
            f"trials = {trials}", f"5 or more show how far trials differ; at most {MAX_TRIALS}"
        )
    if not 0 < min_seconds <= MAX_SECONDS:
        raise ConfigError(
            f"min-seconds = {min_seconds}", f"10 is a good length; at most {MAX_SECONDS:g}"
        )
    warmup_seconds = min(WARMUP_SECONDS, min_seconds)
    with ExitStack() as running:
        metering = running.enter_context(Metering(power, min_seconds, device))
        for engine in engines:
            running.enter_context(engine)
        metering.baseline()
        before, replacements = device.state(), device.replacements
        rounds = [
            [engine.trial(min_seconds, warmup_seconds) for engine in engines] for _ in range(trials)
        ]
        surroundings = _Surroundings(
            device=device.name,
            machine=device.machine(),
            affinity=device.affinity(),
            before=before,
            after=device.state(),
            replaced=device.replacements > replacements,
        )
        metering.baseline()
        return [
            _result(engine, taken, surroundings, metering)
            for engine, taken in zip(engines, zip(*rounds, strict=True), strict=True)
        ]


def require_quiet(results: Sequence[BenchResult]) -> None:
    """Raises MeasurementError for a run that was throttled, overheated or noisy."""
    for result in results:
        marks = [
            mark
            for mark, is_set in (
                ("throttled", result.throttled),
                ("overheated", result.overheated),
                (f"noisy: trials differ by {result.spread:.1%}", result.noisy),
            )
            if is_set
        ]
        if marks:
            raise MeasurementError(
                f"{result.engine} {result.precision}: {', '.join(marks)}",
                hint="let it cool, stop other programs, pin by --cpu; or measure without --strict",
            )


@dataclass(frozen=True, kw_only=True)
class _Surroundings:
    """What all engines of a run have in common."""

    device: str
    machine: host.Machine
    affinity: tuple[int, ...]
    before: host.State
    after: host.State
    replaced: bool  # trials may be of several boards


def _result(
    engine: Engine,
    trials: tuple[Trial, ...],
    around: _Surroundings,
    metering: Metering,
) -> BenchResult:
    facts, latency = engine.facts(), over_trials(trials)
    windows = [
        TrialWindow(started_s=each.started_s, wall_s=each.wall_s, inferences=each.inferences)
        for each in trials
    ]
    energy = metering.energy(windows)
    return BenchResult(
        engine=facts.engine,
        engine_version=facts.engine_version,
        precision=facts.precision,
        model=facts.model,
        model_sha256=facts.model_sha256,
        target=facts.target,
        device=around.device,
        batch=facts.batch,
        threads=engine.placement.threads,
        cpus=engine.placement.cpus,
        affinity=around.affinity,
        median_s=latency.median_s,
        p90_s=latency.p90_s,
        p99_s=latency.p99_s,
        min_s=latency.min_s,
        spread=latency.spread,
        first_inference_s=facts.first_inference_s,
        peak_resident_bytes=facts.peak_resident_bytes,
        program_bytes=facts.program_bytes,
        arena_bytes=facts.arena_bytes,
        energy=energy,
        energy_unavailable=metering.unavailable,
        trials=trials,
        layers=facts.layers,
        machine=around.machine,
        before=around.before,
        after=around.after,
        noisy=latency.spread > NOISY_SPREAD,
        throttled=host.throttled(around.before, around.after),
        overheated=host.overheated(around.before, around.after),
        warnings=(
            *((REPLACED,) if around.replaced else ()),
            *warnings_for(latency, around.machine, around.before, around.after),
        ),
    )


def placement(threads: int, cpu: int | None, allowed: Sequence[int]) -> Placement:
    """Raises ConfigError without a CPU for each thread: spinning threads must not share one.

    `allowed` are the CPUs that programs may use on the device.
    """
    if threads < 1 or threads > len(allowed):
        raise ConfigError(
            f"threads = {threads}, programs may use {len(allowed)} CPUs there",
            hint=f"give 1 to {len(allowed)}",
        )
    cpus = () if cpu is None else tuple(range(cpu, cpu + threads))
    if not set(cpus) <= set(allowed):
        raise ConfigError(
            f"cpu = {cpu} with {threads} threads: not all of them may be used",
            hint=f"programs may use {', '.join(map(str, allowed))}",
        )
    return Placement(threads=threads, cpus=cpus)
