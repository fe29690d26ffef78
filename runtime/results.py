"""What a benchmark says: raw samples, robust statistics, and the machine. Versioned JSON."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgekiln.runtime import codec, host
from edgekiln.runtime.errors import MeasurementError
from edgekiln.runtime.power.energy import Energy

SCHEMA = "edgekiln.bench/2"
NOISY_SPREAD = 0.03  # trials further apart than this say more about the machine than the program
NOISY_STEAL = 0.01  # share of CPU time
MAX_RAW = 1000  # samples of a trial that are kept, evenly spread over it


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One uninterrupted row of inferences. The statistics are of all samples, not of those kept."""

    samples: int
    inferences: int  # several a sample where one would be too short to time
    started_s: float  # Unix time
    wall_s: float
    median_s: float
    p90_s: float
    p99_s: float
    min_s: float
    max_s: float
    mean_s: float
    latencies_s: tuple[float, ...]  # at most MAX_RAW, in the order they were taken


@dataclass(frozen=True, kw_only=True)
class LayerTime:
    """One kernel call, timed on its own: the sum is a little more than the whole."""

    name: str
    op: str
    integer: bool
    macs: int
    latency_s: float  # median
    shared: bool  # by the threads


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """The latency, and where a sensor is the energy, of one program on one machine.

    `median_s` is the median of the trials' medians, `p90_s` and `p99_s` the medians of theirs;
    `min_s` is over all samples; `spread` is (max - min) / median of the trials' medians.
    """

    schema: str = SCHEMA
    engine: Literal["edgekiln", "onnxruntime"]
    engine_version: str
    precision: Literal["int8", "float"]
    model: str
    model_sha256: str  # of the ONNX file
    target: str  # "" for engines without one
    device: str  # "local", or the address of the device that ran it
    batch: int  # samples an inference
    threads: int
    cpus: tuple[int, ...]  # the threads are pinned to; empty: they roam
    affinity: tuple[int, ...]  # CPUs the process may use
    median_s: float
    p90_s: float
    p99_s: float
    min_s: float
    spread: float
    first_inference_s: float  # in a fresh process
    peak_resident_bytes: int  # of the process: for ONNX Runtime, with Python and the library
    program_bytes: int  # libmodel.so, or the .onnx file
    arena_bytes: int | None
    energy: Energy | None
    energy_unavailable: str  # why it is None; "" when it is not
    trials: tuple[Trial, ...]
    layers: tuple[LayerTime, ...]  # with profile=True
    machine: host.Machine
    before: host.State
    after: host.State
    noisy: bool
    throttled: bool | None  # None: this machine does not tell
    overheated: bool | None
    warnings: tuple[str, ...]

    @classmethod
    def from_json(cls, text: str | bytes) -> "BenchResult":
        """Raises MeasurementError for anything but a result of this schema."""
        try:
            data = codec.loads(text)
            schema = data.get("schema") if isinstance(data, dict) else None
            if schema != SCHEMA:
                raise codec.CodecError(f"schema {schema!r}, this EdgeKiln reads {SCHEMA!r}")
            return codec.decode(cls, data)
        except ValueError as error:
            raise MeasurementError(
                f"not a benchmark result: {error}", hint="measure again with this version"
            ) from error


@dataclass(frozen=True, kw_only=True)
class LatencySummary:
    """What several trials say together."""

    median_s: float
    p90_s: float
    p99_s: float
    min_s: float
    spread: float


def over_trials(trials: Sequence[Trial]) -> LatencySummary:
    """Summarize trials: medians of their medians and percentiles, the least of all."""
    medians = [trial.median_s for trial in trials]
    middle = statistics.median(medians)
    return LatencySummary(
        median_s=middle,
        p90_s=statistics.median(trial.p90_s for trial in trials),
        p99_s=statistics.median(trial.p99_s for trial in trials),
        min_s=min(trial.min_s for trial in trials),
        spread=(max(medians) - min(medians)) / middle if middle else 0.0,
    )


def trial_of(latencies_s: Sequence[float], wall_s: float, started_s: float) -> Trial:
    """The statistics of a trial of single inferences, at least one. p90 and p99 by nearest rank."""
    ascending = sorted(latencies_s)
    count = len(ascending)
    kept = min(count, MAX_RAW)
    return Trial(
        samples=count,
        inferences=count,
        started_s=started_s,
        wall_s=wall_s,
        median_s=statistics.median(ascending),
        p90_s=ascending[math.ceil(0.90 * count) - 1],
        p99_s=ascending[math.ceil(0.99 * count) - 1],
        min_s=ascending[0],
        max_s=ascending[-1],
        mean_s=statistics.fmean(ascending),
        latencies_s=tuple(latencies_s[i * count // kept] for i in range(kept)),
    )


def warnings_for(
    latency: LatencySummary, machine: host.Machine, before: host.State, after: host.State
) -> tuple[str, ...]:
    """What makes the numbers doubtful, for people."""
    found = []
    if latency.spread > NOISY_SPREAD:
        found.append(f"noisy: trials differ by {latency.spread:.1%}, more than {NOISY_SPREAD:.0%}")
    if host.throttled(before, after):
        found.append("throttled: heat, power or a quota slowed the CPU")
    if host.overheated(before, after):
        found.append("overheated: a thermal zone reached the temperature where it is cooled")
    if before.load is not None and before.load > machine.cores / 2:
        found.append(f"busy: load {before.load:g} on {machine.cores} cores before the run")
    stolen = host.stolen_share(before, after, machine.cores)
    if stolen is not None and stolen > NOISY_STEAL:
        found.append(f"shared: the hypervisor took {stolen:.1%} of the CPU time meanwhile")
    if machine.governor not in (None, "performance"):
        found.append(f"governor {machine.governor}: the frequency may change; use performance")
    return tuple(found)
