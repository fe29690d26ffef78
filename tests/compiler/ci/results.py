"""Results as a run has them, without running one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.build.result import BuildResult, DropPrice, FloatOp, Step, TargetResult
from edgekiln.compiler.ci.config import Gates
from edgekiln.compiler.ci.matrix import Job
from edgekiln.compiler.ci.result import CiResult, GateVerdict, JobResult
from edgekiln.compiler.packaging.report import Score
from edgekiln.compiler.pipeline.curve import curves_of
from edgekiln.compiler.quantization.ladder_record import Ladder, LayerSensitivity, Rung
from edgekiln.compiler.stages.bench import Bench
from edgekiln.compiler.stages.check import BundleCheck
from edgekiln.runtime.bundle import MANIFEST, SEAL, seal, write_tar
from edgekiln.runtime.host import Machine
from edgekiln.runtime.manifest import Manifest, ProgramSpec, text_of
from edgekiln.runtime.power.energy import Energy
from edgekiln.runtime.results import LayerTime
from edgekiln.targets import profile

TARGET = "x86-64-v3"
MACHINE = Machine(
    cpu="Test CPU", architecture="x86_64", cores=2, memory_bytes=None, kernel="Linux 6",
    governor=None, max_frequency_hz=None,
)  # fmt: skip


def bench(medians_us: Sequence[float] = (100, 100, 100, 100, 100)) -> Bench:
    middle = sorted(medians_us)[len(medians_us) // 2]
    layer = LayerTime(
        name="conv", op="conv2d", integer=True, macs=1000, latency_s=middle * 1e-6, shared=False
    )
    return Bench(
        device="local",
        machine=MACHINE,
        measured="2026-01-01 00:00 UTC",
        threads=1,
        median_s=middle * 1e-6,
        p90_s=middle * 1e-6,
        spread=(max(medians_us) - min(medians_us)) / middle,
        trial_medians_s=tuple(each * 1e-6 for each in medians_us),
        warnings=(),
        layers=(layer,),
        peers=(),
    )


def energy(joules: float) -> Energy:
    return Energy(
        meter="rapl", scope="package", update_period_s=0.001, gross_j=joules, net_j=joules / 2,
        mean_w=10, idle_before_w=5, idle_after_w=5, trials_gross_j=(joules,),
    )  # fmt: skip


def result(
    accuracy: float | None = 0.9, *, arena: int = 1000, quantized_float: int = 0,
    unscored: str = "", sqnr_db: float | None = None, joules: float | None = None,
    score: Score | None = None, further: tuple[Score, ...] = (), **changes: Any,
) -> JobResult:  # fmt: skip
    """Of a job "net/x86-64-v3/int8" that was built, checked and measured."""
    if score is None and accuracy is not None:
        score = Score(value=accuracy, metric="accuracy", unit="%", n=400, of=400)
    compiled = Step(
        stage="compile", target=TARGET, sha256="c" * 64, file_bytes=300, score=score,
        further_scores=further, unscored=unscored,
        metrics={"float_operators_quantized": quantized_float},
        notes=("float: Erf 'gelu': no integer form",) if quantized_float else (), wall_s=1.5,
    )  # fmt: skip
    quantized = Step(
        stage="quantize", target="", sha256="d" * 64, file_bytes=400, score=score, unscored="",
        metrics={"sqnr_db": sqnr_db}, notes=(), wall_s=0.5,
    )  # fmt: skip
    steps = (compiled,) if sqnr_db is None else (quantized, compiled)
    target = TargetResult(
        target=TARGET, base="", bundle="net-x86-64-v3-int8.ekb", bundle_bytes=900,
        bundle_sha256="b" * 64, layers=2, arena_bytes=arena, weights_bytes=200, code_bytes=100,
        float_ops=(FloatOp(name="gelu", op="Erf", reason="no integer form"),) * quantized_float,
    )  # fmt: skip
    built = BuildResult(
        model="net.onnx", data="digits", seed=0, machine=MACHINE, steps=steps,
        targets=(target,),
    )  # fmt: skip
    whole = JobResult(
        id=f"net/{TARGET}/int8", name="net", model="net.onnx", target=TARGET, precision="int8",
        bundle=target.bundle, build=built, bench=bench(),
        check=BundleCheck(where="host", equal=("y",)),
        energy=None if joules is None else energy(joules),
        energy_unmeasured="no sensor" if joules is None else "",
    )  # fmt: skip
    return replace(whole, **changes)


LADDER = Ladder(
    limits={"accuracy": 0.5}, samples=500, met=True, chosen="layers in float",
    rungs=(
        Rung(name="as it is", kept=True, sqnr_db=9.5, scores={"accuracy": 0.8},
             lost={"accuracy": 10.0}, weight_bytes=100),
        Rung(name="layers in float", kept=True, sqnr_db=30.0, scores={"accuracy": 0.9},
             lost={"accuracy": 0.0}, weight_bytes=150, float_layers=("stem",), float_macs=70),
    ),
    float_scores={"accuracy": 0.9},
    sensitivity=(
        LayerSensitivity(name="<stem>", op="Conv", macs=70, sqnr_db=10.0),
        LayerSensitivity(name="head", op="Gemm", macs=9, sqnr_db=20.0),
    ),
)  # fmt: skip


def controlled(ladder: Ladder = LADDER) -> JobResult:
    """Of a build that left a layer float to lose no more than it may."""
    whole = result(sqnr_db=30.0)
    assert whole.build is not None
    quantized, *others = whole.build.steps
    price = DropPrice(
        float_layers=("stem",), bytes=350, plain_bytes=300, median_s=100e-6, plain_median_s=90e-6
    )
    built = replace(
        whole.build,
        steps=(replace(quantized, ladder=ladder), *others),
        targets=(replace(whole.build.targets[0], price=price),),
    )
    return replace(whole, build=built)


def write_bundle(
    path: Path, *, name: str = "net", provenance: tuple[Any, ...] = (),
    report: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """A whole bundle with nothing in it."""
    spec = ProgramSpec(
        name=name, target=TARGET, machine="x86_64", features=(), isa="generic", inputs=(),
        outputs=(), arena_bytes=0, weights_bytes=0, code_bytes=0, layers=(), model_sha256="0",
    )  # fmt: skip
    whole = Manifest(program=spec, files={}, provenance=provenance, report=report or {})
    manifest = text_of(whole).encode()
    write_tar(path, {MANIFEST: manifest, SEAL: seal(manifest)}, executable=set())


def trained(job: JobResult) -> JobResult:
    """The same job, whose first stage trained for three epochs by a teacher."""
    assert job.build is not None
    history = [
        {"loss/train": 2 / epoch, "loss/val": 3 / epoch, "accuracy/val": 0.3 * epoch,
         "learning_rate": 0.01 / epoch}
        for epoch in (1, 2, 3)
    ]  # fmt: skip
    curves = curves_of("student", history, {"accuracy/val": 0.95, "loss/val": 0.5})
    first, *others = job.build.steps
    steps = (replace(first, curves=(curves,)), *others)
    return replace(job, build=replace(job.build, steps=steps))


def run(*jobs: JobResult, verdicts: tuple[GateVerdict, ...] = ()) -> CiResult:
    return CiResult(config="edgekiln.toml", baseline="", jobs=jobs, verdicts=verdicts)


def job(**gates: Any) -> Job:
    return Job(
        name="net", model="net.onnx", target=profile.load(TARGET), precision="int8",
        recipe=Recipe(), bench_seconds=1.0, gates=Gates(**gates),
    )  # fmt: skip


DIGIT = Score(value=0.9, metric="accuracy", unit="%", n=400, of=400, head="digit")
INK = Score(
    value=0.2, metric="RMSE", unit="mm", better="lower", share=False, n=400, of=400, head="ink"
)
RMSE = replace(INK, head="")
