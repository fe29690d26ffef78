"""What a bundle's executable, `runner`, prints as JSON; c/bench.c and its neighbours write it."""

from dataclasses import dataclass
from typing import Literal

from edgekiln.runtime.results import Trial


@dataclass(frozen=True, kw_only=True)
class RunnerLayer:
    """A step, timed on its own, net of the clock."""

    name: str
    op: str
    work: int  # independent items that threads may share; 0: one thread
    threads_share: int  # 1 where they did
    samples: int
    median_s: float
    p90_s: float
    p99_s: float
    min_s: float
    max_s: float
    mean_s: float


@dataclass(frozen=True, kw_only=True)
class RunnerState:
    """The machine, as the runner sees it where no Python is; null is what it does not tell."""

    frequency_hz: float | None  # of CPU 0
    temperature_c: float | None  # of the hottest zone
    throttled: int | None  # 1 while a cooling device slows a CPU


@dataclass(frozen=True, kw_only=True)
class RunnerReport:
    """What `runner perf --json` prints. Times are in seconds."""

    schema: Literal[4]
    edgekiln_version: str  # which EdgeKiln built it
    model: str
    model_sha256: str  # of the ONNX file it was compiled from
    target: str  # profile the program was compiled for
    threads: int  # as asked for
    shared_steps: int  # steps that threads share; 0 where they would gain nothing
    cpus: tuple[int, ...]  # the CPU each thread was pinned to; empty: they roam
    arena_bytes: int  # memory the program works in
    clock: str  # which clock was read
    clock_overhead_s: float  # between two readings; taken off each layer's time
    governor: str | None  # who sets the frequency of the CPU that is used
    before: RunnerState
    first_inference_s: float
    warmup_calls: int
    calls_per_sample: int  # several where one would be too short to time
    peak_rss_bytes: int  # before the samples fill memory
    trials: tuple[Trial, ...]  # their `latencies_s` are empty without --samples
    layers: tuple[RunnerLayer, ...]  # with --profile
    after: RunnerState
    finished_s: float  # Unix time


@dataclass(frozen=True, kw_only=True)
class RunnerAccuracy:
    """What `runner accuracy` prints, after it wrote the predictions."""

    schema: Literal[1]
    inferences: int  # samples divided by the program's batch
    started_s: float  # Unix time
    wall_s: float  # until the last prediction was written, reading and writing included


@dataclass(frozen=True, kw_only=True)
class RunnerOutcomes:
    """What became of the runs of each span of a trace, at one operating point."""

    misses: tuple[int, ...]  # runs that took longer than their deadline
    busy_ns: tuple[int, ...]  # what all runs took


@dataclass(frozen=True, kw_only=True)
class RunnerGoverned(RunnerOutcomes):
    """The same with the governor choosing."""

    unfit: tuple[int, ...]  # runs for which no point fits
    switches: tuple[int, ...]  # to another point than the run's before
    runs: tuple[tuple[int, ...], ...]  # of each point, in each span


@dataclass(frozen=True, kw_only=True)
class RunnerTrace:
    """What `runner trace` prints."""

    schema: Literal[1]
    governed: RunnerGoverned
    points: tuple[RunnerOutcomes, ...]
    finished_s: float  # Unix time


@dataclass(frozen=True, kw_only=True)
class RunnerCheck:
    """What `runner check` prints when the outputs are as expected; otherwise it exits with 7."""

    schema: Literal[1]
    outputs_equal: int  # outputs, every byte of which is as expected
