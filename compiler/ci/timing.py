"""How fast a bundle is and what power it draws, remembered by the machine that measured it."""

import json
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekiln.compiler.build.scoring import latency_of
from edgekiln.compiler.ci.matrix import Job
from edgekiln.compiler.ci.result import Bench
from edgekiln.compiler.devices.named import identity, open_device
from edgekiln.compiler.pipeline import source_models
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.key import key_of, recipe_of
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.pipeline.store import Store
from edgekiln.runtime import codec
from edgekiln.runtime.device.device import LOCAL
from edgekiln.runtime.power.energy import Energy

if TYPE_CHECKING:
    from edgekiln.runtime.results import BenchResult


@dataclass(frozen=True, kw_only=True)
class BundleTiming:
    """What one run of a benchmark tells."""

    bench: Bench
    energy: Energy | None
    energy_unmeasured: str


def timing(bundle: Artifact, job: Job, store: Store, *, again: bool) -> BundleTiming:
    """Measure a bundle, or find what was measured of its bytes on this machine before.

    Args:
        store: this machine's own: others shall not take its latencies for theirs.
        again: whether to measure what was measured before.

    Raises:
        DeviceError, MeasurementError, BundleError: as `edgekiln.runtime.bench.compare`.
    """
    device = job.device or LOCAL
    stage = TimeBundle(
        device=device,
        machine=f"{platform.node()}: {identity(device, bundle.path)}",
        min_seconds=job.bench_seconds,
        power=job.target.meter,
    )
    if again:
        store.drop(key_of(recipe_of(stage, bundle, None)))
    made = store.run(stage, bundle)
    found = codec.decode(BundleTiming, json.loads(made.path.read_text(encoding="utf-8")))
    return replace(found, bench=replace(found.bench, remembered=made.cached))


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

        here = self.device == LOCAL
        ours, *others = compare(
            src.path,
            source_models.models_of(src.path) if here else (),
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
