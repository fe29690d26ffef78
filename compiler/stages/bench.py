"""Bench: how fast a bundle is and what power it draws, on one machine.

No stage of a build: `edgekiln ci` asks for it, and remembers by its key what was measured.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekiln.compiler.devices.named import open_device
from edgekiln.compiler.evaluation.latency import Latency, latency_of
from edgekiln.compiler.pipeline import source_models
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.runtime import codec
from edgekiln.runtime.device.device import LOCAL
from edgekiln.runtime.host import Machine
from edgekiln.runtime.power.energy import Energy
from edgekiln.runtime.results import LayerTime

if TYPE_CHECKING:
    from edgekiln.runtime.results import BenchResult


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The latency on one machine, on which no other job is built meanwhile."""

    device: str  # "local", or as the configuration names it
    machine: Machine
    measured: str  # when: "2026-11-24 12:00 UTC"
    remembered: bool = False  # by an earlier run, of the same bytes on the same machine
    threads: int
    median_s: float  # of the trials' medians
    p90_s: float
    spread: float  # of the trials' medians: (max - min) / median
    trial_medians_s: tuple[float, ...]
    warnings: tuple[str, ...]
    layers: tuple[LayerTime, ...]
    peers: tuple[Latency, ...]  # ONNX Runtime beside it, on this machine only


@dataclass(frozen=True, kw_only=True)
class BundleTiming:
    """What one run of a benchmark tells."""

    bench: Bench
    energy: Energy | None
    energy_unmeasured: str


@dataclass(frozen=True, kw_only=True)
class TimeBundle(Stage):
    """Measure the bundle and, where it runs on this machine, ONNX Runtime as the reference."""

    name: ClassVar[str] = "bench"
    takes: ClassVar[tuple[Kind, ...]] = ("bundle",)
    gives: ClassVar[Kind] = "report"
    suffix: ClassVar[str] = ".json"
    tools: ClassVar[tuple[str, ...]] = ("edgekiln", "onnxruntime")

    device: str
    machine: str  # which one that is, in words
    min_seconds: float
    power: str

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:  # noqa: ARG002
        from edgekiln.runtime.bench import compare
        from edgekiln.runtime.bundle import ProgramFile

        here = self.device == LOCAL
        opened = ProgramFile.open(src.path)
        ours, *others = compare(
            opened,
            # ONNX Runtime runs in this process: what a board would be compared with is not there.
            source_models.models_of(opened) if here else (),
            min_seconds=self.min_seconds,
            profile=True,
            power=self.power,
            device=None if here else open_device(self.device, src.path),
        )
        taken = BundleTiming(
            bench=_bench(ours, others, self.device),
            energy=ours.energy,
            energy_unmeasured=ours.energy_unavailable,
        )
        src.require_unchanged()
        dst.write_text(codec.to_json(taken), encoding="utf-8")
        return {"median_s": ours.median_s}


def _bench(ours: "BenchResult", others: "list[BenchResult]", device: str) -> Bench:
    return Bench(
        device=device,
        machine=ours.machine,
        measured=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        threads=ours.threads,
        median_s=ours.median_s,
        p90_s=ours.p90_s,
        spread=ours.spread,
        trial_medians_s=tuple(trial.median_s for trial in ours.trials),
        warnings=ours.warnings,
        layers=ours.layers,
        peers=tuple(latency_of(each, ours.median_s) for each in others),
    )
