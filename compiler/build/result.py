"""What a build tells: JSON-able, versioned, and the same numbers for the table and for programs."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgekiln.runtime.host import Machine
from edgekiln.runtime.manifest import Footprint

SCHEMA = "edgekiln.build/1"


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no infinity (an SQNR without any noise, say): null."""
    return {key: value if math.isfinite(value) else None for key, value in metrics.items()}


@dataclass(frozen=True, kw_only=True)
class Score:
    """How good a model is on the held-out samples."""

    value: float  # accuracy in [0, 1], or what `metric` says
    metric: str
    n: int  # samples


@dataclass(frozen=True, kw_only=True)
class Step:
    """One stage of the chain."""

    stage: str  # "input" for the user's own file
    target: str = ""  # "" for the stages that all targets share
    sha256: str  # of the artifact
    file_bytes: int  # of a compiled program: code and weights
    score: Score | None = None
    unscored: str = ""  # why there is no score
    parameters: int | None = None
    macs: int | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    # Of this run alone:
    wall_s: float = 0.0
    cached: bool = False
    remark: str = ""

    def lasting(self) -> dict[str, Any]:
        """What goes into the bundle: the same on every run."""
        passing = ("wall_s", "cached", "remark")
        return {key: value for key, value in asdict(self).items() if key not in passing}


@dataclass(frozen=True, kw_only=True)
class Latency:
    """One engine on this machine, one inference at a time."""

    engine: str  # "edgekiln", "onnxruntime int8", "onnxruntime float"
    threads: int
    median_s: float
    p90_s: float
    spread: float  # of the trials' medians: (max - min) / median
    ratio: float  # to ours; above 1: slower than ours
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FloatOp:
    """An operation that stayed float, or that has no kernel of ours."""

    name: str
    op: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class TargetResult:
    """The bundle for one target."""

    target: str
    base: str
    bundle: str  # path
    bundle_bytes: int
    bundle_sha256: str
    layers: int
    float_ops: tuple[FloatOp, ...]
    arena_bytes: int
    weights_bytes: int
    code_bytes: int
    footprint: Footprint | None = None  # of a microcontroller's memories
    latencies: tuple[Latency, ...] = ()
    unmeasured: str = ""  # why there are no latencies


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """Everything `edgekiln build` reports."""

    model: str
    data: str
    seed: int
    precision: str = "int8"
    machine: Machine  # where it was built and measured
    steps: tuple[Step, ...]
    targets: tuple[TargetResult, ...]
