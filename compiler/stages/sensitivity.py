"""Sensitivity: which layers of a float model lose most when they become integer.

No stage of a build: `edgekiln sensitivity` asks for it of a float model, and what it found is kept
like any artifact.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.stages.uses_data import data_of_onnx, used_data
from edgekiln.runtime.errors import ConfigError

if TYPE_CHECKING:
    from edgekiln.targets.profile import TargetProfile


@dataclass(frozen=True, kw_only=True)
class SensitivityStage(Stage):
    """Quantize one layer at a time, and measure. The report is a `SensitivityReport` as JSON."""

    name: ClassVar[str] = "sensitivity"
    takes: ClassVar[tuple[Kind, ...]] = ("onnx",)
    gives: ClassVar[Kind] = "report"
    suffix: ClassVar[str] = ".json"
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "numpy", "torch")

    mode: Literal["only", "all-but"] = field(
        default="only",
        metadata={"help": "Let the layer alone be integer, or all but the layer."},
    )
    calibration: Literal["minmax", "percentile", "entropy", "mse"] = field(
        default="minmax", metadata={"help": "Choose the ranges of activations by this method."}
    )
    samples: int = field(
        default=512, metadata={"help": "Calibrate on this many samples; 0 takes all there are."}
    )
    measure: int = field(
        default=256, metadata={"help": "Measure on this many validation samples; 0 takes all."}
    )
    exclude: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Leave these operations float, by name, where * matches anything; again for "
            "more."
        },
    )
    data: str = field(
        default="",
        metadata={
            "help": "Measure on this data set, a name or a path, and calibrate a .onnx, which "
            "needs no labels (default: the model's own data)."
        },
    )
    seed: int = field(default=0, metadata={"help": "Split the data set by this seed."})

    def __post_init__(self) -> None:
        if self.samples < 0 or self.measure < 0:
            raise ConfigError(
                f"sensitivity: samples = {self.samples}, measure = {self.measure}",
                hint="0 takes all there are",
            )

    def settled(self, src: Artifact | None) -> Self:
        return replace(self, data=self.data or data_of_onnx(src))

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:  # noqa: ARG002
        return used_data(self.data, self.seed)

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.onnx_model import io, model_inputs
        from edgekiln.compiler.onnx_model.feed import feed_for
        from edgekiln.compiler.quantization import qdq
        from edgekiln.compiler.quantization.calibration import Calibration
        from edgekiln.compiler.quantization.judge import BATCH, Judge
        from edgekiln.compiler.quantization.ladder_record import SensitivityReport
        from edgekiln.compiler.quantization.prepare import prepare
        from edgekiln.compiler.quantization.scheme import Scheme, observed_tensors
        from edgekiln.compiler.quantization.sensitivity import sensitivities
        from edgekiln.runtime import codec
        from edgekiln.runtime.files import written_whole

        model = prepare(src.read(io.load_model))
        takes = model_inputs.of_model(model)
        feed = feed_for(io.read_meta(model), takes, data=self.data, seed=self.seed)
        calibration = Calibration(
            feed=feed,
            samples=self.samples,
            batch=BATCH,
            method=self.calibration,
            advance=ctx.advance,
        )
        tensors = observed_tensors(model, qdq.quantized_nodes(model, self.exclude))
        scheme = Scheme(
            model=model, ranges=calibration.ranges(model, tensors), exclude=self.exclude
        )
        judge = Judge(model, feed, samples=self.measure, scored=True)
        layers = sensitivities(
            scheme, judge, self.mode, lambda done, total: ctx.advance(done, total, "layers")
        )
        whole = judge.verdict(scheme.quantized())
        report = SensitivityReport(
            mode=self.mode,
            samples=judge.samples,
            sqnr_db=whole.sqnr_db,
            float_scores={score.label: score.value for score in judge.scores},
            loss_units={score.label: score.metric.loss_unit for score in judge.scores},
            layers=layers,
        )
        with written_whole(dst) as stream:
            stream.write(codec.to_json(report).encode())
        return {"layers": len(layers), "n": judge.samples}
