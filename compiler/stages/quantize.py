"""Quantize: a float ONNX model becomes the one int8 model of all targets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from edgekiln.compiler.onnx_model import io, model_inputs
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.quantization.products import WEIGHT_BITS
from edgekiln.compiler.quantization.sqnr import ANY_SIGNAL_DB, LOST_DB, PERFECT_DB
from edgekiln.compiler.quantization.wide_codes import ACTIVATION_BITS
from edgekiln.compiler.stages import quantize_refusals
from edgekiln.compiler.stages.compared_bits import beside_all_bytes
from edgekiln.compiler.stages.quality_limits import SQNR_SAMPLES, climbed, drops_of
from edgekiln.compiler.stages.quantized_training import QuantizedTraining
from edgekiln.compiler.stages.uses_data import data_of_onnx, used_data
from edgekiln.runtime.errors import ConfigError

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.feed import Feed
    from edgekiln.compiler.qat.train import QatResult
    from edgekiln.compiler.quantization.calibration import Calibration
    from edgekiln.compiler.quantization.corrections import Workbench
    from edgekiln.compiler.quantization.judge import Judge
    from edgekiln.compiler.quantization.ladder_record import Ladder
    from edgekiln.compiler.quantization.scheme import Scheme
    from edgekiln.targets.profile import TargetProfile


_ROUNDED_DB = 25.0  # below it a transformer's answers begin to differ from the float model's


@dataclass(frozen=True, kw_only=True)
class QuantizeStage(QuantizedTraining):
    """Static int8 quantization: ranges from calibration data, QDQ around every operation."""

    name: ClassVar[str] = "quantize"
    takes: ClassVar[tuple[Kind, ...]] = ("onnx",)
    gives: ClassVar[Kind] = "onnx-int8"
    suffix: ClassVar[str] = ".int8.onnx"
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "numpy", "torch")

    calibration: Literal["minmax", "percentile", "entropy", "mse"] = field(
        default="minmax", metadata={"help": "Choose the ranges of activations by this method."}
    )
    percentile: float = field(
        default=99.99,
        metadata={
            "help": "Put this percentage of the values inside the range, with calibration "
            "= percentile."
        },
    )
    samples: int = field(
        default=512, metadata={"help": "Calibrate on this many samples; 0 takes all there are."}
    )
    batch: int = field(
        default=32, metadata={"help": "Run at most this many calibration samples at a time."}
    )
    exclude: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Leave these operations float, by name, where * matches "
            "anything; again for more."
        },
    )
    equalize_below: float = field(
        default=20.0,
        metadata={
            "help": "Balance channels across layers where the SQNR is below this many dB; 0 "
            "never does."
        },
    )
    accept_sqnr: float = field(
        default=10.0,
        metadata={
            "help": f"Refuse a result whose SQNR is below this many dB; {LOST_DB:.0f} takes any."
        },
    )
    max_drop: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Let the int8 model lose at most this many percentage points of the task's "
            "metric on the validation samples, or percent where it is no share, and do what it "
            "takes: corrections, learned rounding, layers in float; [NAME=]PP, again for more.",
        },
    )
    min_sqnr: float | None = field(
        default=None,
        metadata={
            "help": "Let each output of the int8 model keep at least this many decibels of signal "
            "over noise on the validation samples, which need no labels, and do what it takes, as "
            "for max-drop (default: no limit)."
        },
    )
    data: str = field(
        default="",
        metadata={
            "help": "Calibrate on these samples, a name or a path; they need no labels (default: "
            "the model's own data).",
            "also": "calibrate",
        },
    )
    validation: str = field(
        default="",
        metadata={
            "help": "Judge what is lost, for max-drop and min-sqnr, on the validation split of "
            "this data set (default: data)."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 50.0 < self.percentile <= 100.0:
            raise ConfigError(
                f"quantize: percentile = {self.percentile}", hint="take one above 50, up to 100"
            )
        if self.samples < 0 or self.batch < 1:
            raise ConfigError(
                f"quantize: samples = {self.samples}, batch = {self.batch}",
                hint="samples is 0 (all) or more, batch at least 1",
            )
        drops_of(self.max_drop)
        if self.min_sqnr is not None and not self.min_sqnr < PERFECT_DB:
            raise ConfigError(
                f"quantize: min-sqnr = {self.min_sqnr}",
                hint=f"take decibels below {PERFECT_DB:g}; 30 answers as the float model does",
            )

    @property
    def _limited(self) -> bool:
        return bool(self.max_drop) or self.min_sqnr is not None

    def settled(self, src: Artifact | None) -> Self:
        return replace(self, data=self.data or data_of_onnx(src))

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:  # noqa: ARG002
        used = used_data(self.data, self.seed)
        judged = used_data(self.validation, self.seed) if self._limited else {}
        return {**used, **{f"validation-{key}": value for key, value in judged.items()}}

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.onnx_model.feed import completed, feed_for
        from edgekiln.compiler.quantization import kept_numbers, qcheck
        from edgekiln.compiler.quantization.corrections import Workbench
        from edgekiln.compiler.quantization.judge import Judge
        from edgekiln.compiler.quantization.prepare import prepare
        from edgekiln.compiler.quantization.residual_sums import residual_sums

        given = src.read(io.load_model)
        model = prepare(given)
        meta = io.read_meta(model)
        takes = model_inputs.of_model(model)
        feed = feed_for(meta, takes, data=self.data, seed=self.seed)
        ctx.notes.extend(feed.notes)
        kept_numbers.check(given, model, feed)
        # Before quantization, which takes it over: the int8 model says how its input is made.
        io.write_meta(model, completed(meta, feed, self.data))
        bench = Workbench(calibration=self._calibration(feed, ctx), seed=self.seed)
        widths = (self.weight_bits, self.embedding_bits, self.activation_bits)
        compared = widths != (WEIGHT_BITS, WEIGHT_BITS, ACTIVATION_BITS)
        judge = Judge(model, feed, samples=SQNR_SAMPLES, scored=compared)
        scheme, quantized, sqnr_db = self._plain(model, bench, judge, ctx)
        if compared:
            ctx.notes.extend(beside_all_bytes(scheme, quantized, judge))
        results: list[QatResult] = []

        def retrain(quantized: "onnx.ModelProto", source: "onnx.ModelProto") -> "onnx.ModelProto":
            results.append(self.trained(quantized, source, feed, ctx))
            return results[-1].model

        ladder: Ladder | None = None
        spared: frozenset[str] = frozenset()
        if self._limited:
            spec = self.validation or self.data
            found, ladder, notes = climbed(
                model, scheme, bench, self.data, spec, drops_of(self.max_drop), self.min_sqnr,
                retrain if self.qat_epochs else None,
            )  # fmt: skip
            ctx.notes.extend(notes)
            scheme, quantized, spared = found.scheme, found.quantized, found.scheme.floats
            sqnr_db = found.verdict.sqnr_db
        elif sqnr_db < _ROUNDED_DB and (sums := residual_sums(model)):
            ctx.notes.append(
                f"the residual stream is rounded at each of its {len(sums)} sums: "
                f"min-sqnr {_ROUNDED_DB:g} keeps it in float, which takes little time"
            )
        if self.qat_epochs and not self._limited:
            quantized = retrain(quantized, scheme.model)
            sqnr_db = judge.verdict(quantized).sqnr_db
        chosen = next((result for result in results if result.model is quantized), None)
        structure = qcheck.inspect(quantized, self.exclude, spared, scheme.far)
        if not structure.integer:
            raise quantize_refusals.nothing_to_quantize(structure, self.exclude)
        # What learned from labels was chosen by them, and may differ from the float model.
        by_labels = chosen is not None and chosen.learned_from_labels
        least_db = ANY_SIGNAL_DB if by_labels else self.accept_sqnr
        # Written so that NaN, which is above nothing, is refused.
        if not sqnr_db >= least_db:
            raise quantize_refusals.signal_lost(sqnr_db, least_db)
        ctx.notes.extend(structure.notes)
        _save(quantized, ladder, dst)
        return {
            "sqnr_db": sqnr_db,
            "quantized_ops": len(structure.integer),
            "float_ops": len(structure.floats),
            "file_bytes": dst.stat().st_size,
            **(chosen.metrics if chosen else {}),
        }

    def _plain(
        self, model: "onnx.ModelProto", bench: "Workbench", judge: "Judge", ctx: StageContext
    ) -> "tuple[Scheme, onnx.ModelProto, float]":
        """Calibrate and quantize; channels are balanced where the SQNR is low, for that takes a
        second calibration.
        """
        from edgekiln.compiler.quantization import qdq
        from edgekiln.compiler.quantization.corrections import equalized
        from edgekiln.compiler.quantization.scheme import Scheme, observed_tensors

        nodes = qdq.quantized_nodes(model, self.exclude)
        ranges = bench.calibration.ranges(model, observed_tensors(model, nodes))
        scheme = Scheme(
            model=model, ranges=ranges, exclude=self.exclude, weight_bits=self.weight_bits,
            weight_block=self.weight_block, embedding_bits=self.embedding_bits,
            activation_bits=self.activation_bits,
        )  # fmt: skip
        quantized = scheme.quantized()
        sqnr_db = judge.verdict(quantized).sqnr_db
        if not (self.equalize_below and sqnr_db < self.equalize_below):
            return scheme, quantized, sqnr_db
        balanced = equalized(scheme, bench)
        if balanced is scheme:
            return scheme, quantized, sqnr_db
        tried = balanced.quantized()
        after_db = judge.verdict(tried).sqnr_db
        better = after_db > sqnr_db
        ctx.notes.append(
            f"equalizing layers: SQNR {sqnr_db:.1f} → {after_db:.1f} dB, "
            f"{'kept' if better else 'undone'}"
        )
        return (balanced, tried, after_db) if better else (scheme, quantized, sqnr_db)

    def _calibration(self, feed: "Feed", ctx: StageContext) -> "Calibration":
        from edgekiln.compiler.quantization.calibration import Calibration

        return Calibration(
            feed=feed,
            samples=self.samples,
            batch=self.batch,
            method=self.calibration,
            percentile=self.percentile,
            advance=ctx.advance,
        )


def _save(quantized: "onnx.ModelProto", ladder: "Ladder | None", dst: Path) -> None:
    from edgekiln.compiler.quantization.ladder_record import write_ladder
    from edgekiln.compiler.quantization.whole_scales import with_whole_scales

    with_whole_scales(quantized)
    if ladder is not None:
        write_ladder(quantized, ladder)
    io.save_model(quantized, dst)
