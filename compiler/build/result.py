"""What a build tells: JSON-able, versioned, and the same numbers for the table and for programs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.evaluation.latency import Latency
from edgekiln.compiler.packaging.report import StageReport
from edgekiln.compiler.pipeline.curve import TrainingCurves
from edgekiln.runtime.hints import ABSENT_WHEN_EMPTY
from edgekiln.runtime.host import Machine
from edgekiln.runtime.manifest import Footprint

if TYPE_CHECKING:
    from edgekiln.targets.profile import TargetProfile

SCHEMA = "edgekiln.build/1"


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no infinity (an SQNR without any noise, say): null."""
    return {key: value if math.isfinite(value) else None for key, value in metrics.items()}


@dataclass(frozen=True, kw_only=True)
class Step(StageReport):
    """One stage of the chain, and what is told of this run alone."""

    wall_s: float = 0.0
    cached: bool = False
    remark: str = ""
    # Of the trainings in it; they are for a page, and too many numbers for a bundle.
    curves: tuple[TrainingCurves, ...] = field(default=(), metadata=ABSENT_WHEN_EMPTY)

    def lasting(self) -> StageReport:
        """What goes into the bundle: the same on every run."""
        return StageReport(**{each.name: getattr(self, each.name) for each in fields(StageReport)})


@dataclass(frozen=True, kw_only=True)
class FloatOp:
    """An operation that stayed float, or that has no kernel of ours."""

    name: str
    op: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class DropPrice:
    """What a program pays for a limit on what may be lost: it and the program without the limit."""

    float_layers: tuple[str, ...]
    bytes: int  # code and weights
    plain_bytes: int
    wide_layers: tuple[str, ...] = ()  # whose activations have 16 bits
    whole_layers: tuple[str, ...] = ()  # whose weights have 8 bits, where others have 4
    median_s: float | None = None  # of a call; None where it cannot be measured
    plain_median_s: float | None = None


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
    # Of a quantization that left layers float to lose no more than it may.
    price: DropPrice | None = field(default=None, metadata=ABSENT_WHEN_EMPTY)
    notes: tuple[str, ...] = field(default=(), metadata=ABSENT_WHEN_EMPTY)  # of the packing


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """Everything `edgekiln build` reports."""

    model: str
    data: str
    calibrate: str = ""  # what the ranges of quantization are from, where that is not `data`
    seed: int
    precision: str = "int8"
    machine: Machine  # where it was built and measured
    steps: tuple[Step, ...]
    targets: tuple[TargetResult, ...]


def target_result(target: "TargetProfile", path: Path, sha256: str) -> TargetResult:
    """What the bundle at `path` says of itself."""
    from edgekiln.runtime.bundle import Bundle

    program = Bundle.open(path).program
    return TargetResult(
        target=target.name,
        base=target.base,
        bundle=str(path),
        bundle_bytes=path.stat().st_size,
        bundle_sha256=sha256,
        arena_bytes=program.arena_bytes,
        weights_bytes=program.weights_bytes,
        code_bytes=program.code_bytes,
        footprint=program.footprint,
        layers=len(program.layers),
        float_ops=tuple(
            FloatOp(name=layer.name, op=layer.op, reason=layer.reason)
            for layer in program.layers
            if not layer.integer and layer.reason
        ),
    )
