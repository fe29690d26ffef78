"""Quantize: a float ONNX model becomes the one int8 model of all targets."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from edgekiln.compiler.onnx_model import io, model_inputs
from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.quantization.entropy import entropy_range
from edgekiln.compiler.quantization.mse import mse_range
from edgekiln.compiler.quantization.percentile import percentile_range
from edgekiln.compiler.quantization.ranges import Histogram, Observer, Range
from edgekiln.compiler.quantization.sqnr import LOST_DB
from edgekiln.compiler.stages.uses_data import data_of_onnx, used_data
from edgekiln.runtime.errors import AccuracyError, ConfigError, UnsupportedError

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.feed import Feed, PartName
    from edgekiln.compiler.quantization.qcheck import Structure
    from edgekiln.targets.profile import TargetProfile

_SQNR_SAMPLES, _SQNR_BATCH = 512, 32
_LEAST_CALIBRATION = 32  # samples; see `_calibration`


@dataclass(frozen=True, kw_only=True)
class QuantizeStage(Stage):
    """Static int8 quantization: ranges from calibration data, QDQ around every operation."""

    name: ClassVar[str] = "quantize"
    takes: ClassVar[tuple[Kind, ...]] = ("onnx",)
    gives: ClassVar[Kind] = "onnx-int8"
    suffix: ClassVar[str] = ".int8.onnx"
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "numpy")

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
    data: str = field(
        default="",
        metadata={
            "help": "Calibrate on these samples, a name or a path; they need no labels (default: "
            "the model's own data).",
            "also": "calibrate",
        },
    )
    seed: int = field(default=0, metadata={"help": "Split the data set by this seed."})

    def __post_init__(self) -> None:
        if not 50.0 < self.percentile <= 100.0:
            raise ConfigError(
                f"quantize: percentile = {self.percentile}", hint="take one above 50, up to 100"
            )
        if self.samples < 0 or self.batch < 1:
            raise ConfigError(
                f"quantize: samples = {self.samples}, batch = {self.batch}",
                hint="samples is 0 (all) or more, batch at least 1",
            )

    def settled(self, src: Artifact | None) -> Self:
        return replace(self, data=self.data or data_of_onnx(src))

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:  # noqa: ARG002
        return used_data(self.data, self.seed)

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.onnx_model.feed import feed_for
        from edgekiln.compiler.quantization import qcheck
        from edgekiln.compiler.quantization.prepare import prepare

        model = prepare(src.read(io.load_model))
        meta = io.read_meta(model)
        takes = model_inputs.of_model(model)
        feed = feed_for(meta, takes, data=self.data, seed=self.seed)
        ctx.notes.extend(feed.notes)
        # Before quantization, which takes it over: the int8 model says how its input is made.
        io.write_meta(model, _completed(meta, feed, self.data))
        quantized, sqnr_db = self._integer(model, feed, ctx)
        # Only where the SQNR is low, for balancing takes a second calibration.
        if self.equalize_below and sqnr_db < self.equalize_below:
            quantized, sqnr_db = self._equalized(model, (quantized, sqnr_db), feed, ctx)
        structure = qcheck.inspect(quantized, self.exclude)
        if not structure.integer:
            raise _nothing_to_quantize(structure, self.exclude)
        # Written so that NaN, which is above nothing, is refused.
        if not sqnr_db >= self.accept_sqnr:
            raise _signal_lost(sqnr_db, self.accept_sqnr)
        ctx.notes.extend(_notes(structure))
        io.save_model(quantized, dst)
        return {
            "sqnr_db": sqnr_db,
            "quantized_ops": len(structure.integer),
            "float_ops": len(structure.floats),
            "file_bytes": dst.stat().st_size,
        }

    def _integer(
        self, model: "onnx.ModelProto", feed: "Feed", ctx: StageContext
    ) -> "tuple[onnx.ModelProto, float]":
        """Calibrate and quantize: the int8 model and its logits' SQNR in dB."""
        from edgekiln.compiler.quantization import qdq
        from edgekiln.compiler.quantization.joint import joint_ranges

        nodes = qdq.quantized_nodes(model, self.exclude)
        weights = [weight.name for weight in model.graph.initializer]
        observer = Observer(model, qdq.observed_tensors(nodes, weights), batch=self.batch)
        ranges = joint_ranges(model, nodes, self._ranges(observer, feed, ctx))
        quantized = qdq.quantize(model, nodes, ranges)
        return quantized, _sqnr_db(model, quantized, feed)

    def _equalized(
        self,
        model: "onnx.ModelProto",
        before: "tuple[onnx.ModelProto, float]",
        feed: "Feed",
        ctx: StageContext,
    ) -> "tuple[onnx.ModelProto, float]":
        """The better of `before` and what comes out after balancing the float model's channels."""
        import onnx

        from edgekiln.compiler.quantization.equalize import equalize

        balanced = onnx.ModelProto()
        balanced.CopyFrom(model)
        pairs = equalize(balanced)
        if not pairs:
            return before
        after = self._integer(balanced, feed, ctx)
        better = after[1] > before[1]
        ctx.notes.append(
            f"equalizing {pairs} pairs of layers: SQNR {before[1]:.1f} → {after[1]:.1f} dB, "
            f"{'kept' if better else 'undone'}"
        )
        return after if better else before

    def _ranges(self, observer: Observer, feed: "Feed", ctx: StageContext) -> dict[str, Range]:
        parts = _calibration(feed, self.samples)
        # A histogram needs the range first, so that all other methods walk over the samples twice.
        passes = 1 if self.calibration == "minmax" else 2
        total = sum(count for _, count in parts) * passes
        seen = 0

        def batches(size: int) -> Iterator[model_inputs.Inputs]:
            nonlocal seen
            for part, count in parts:
                for x in feed.batches(part, batch=size, samples=count):
                    yield x
                    seen += feed.takes.samples_in(x)
                    ctx.advance(min(seen, total), total, f"calibrating ({self.calibration})")

        ranges = observer.ranges(batches)
        if self.calibration == "minmax":
            return ranges
        histograms = observer.histograms(batches, ranges)
        return {name: self._estimate(histogram) for name, histogram in histograms.items()}

    def _estimate(self, histogram: Histogram) -> Range:
        match self.calibration:
            case "percentile":
                return percentile_range(histogram, self.percentile)
            case "entropy":
                return entropy_range(histogram)
            case "mse":
                return mse_range(histogram)
            case "minmax":
                return histogram.low, histogram.high


def _calibration(feed: "Feed", samples: int) -> "list[tuple[PartName, int]]":
    """Where the calibration samples come from, and how many.

    A range that a handful of samples gave cuts off what all others have: a small data set's
    calibration split is filled up from the training split.
    """
    calib, train = feed.count("calib"), feed.count("train")
    wanted = min(samples or calib, calib)
    # Filled up to what was asked for, but no further than to what is enough for a range.
    more = min(train, (samples or _LEAST_CALIBRATION) - wanted, _LEAST_CALIBRATION - wanted)
    # Never from the test split, on which the result is judged.
    parts: list[tuple[PartName, int]] = [("calib", wanted)]
    return [*parts, ("train", more)] if more > 0 else parts


def _completed(meta: io.Meta, feed: "Feed", data: str) -> io.Meta:
    """What the model says about itself, and what the data set knows where it says nothing."""
    return replace(
        meta,
        preprocessing=meta.preprocessing or feed.preprocessing,
        labels=meta.labels or feed.classes,
        data=meta.data or data,
        task=meta.task or feed.task,
    )


def _notes(structure: "Structure") -> list[str]:
    return [
        *(f"{op.op} {op.name} stays float: {op.reason}" for op in structure.floats),
        *structure.violations,
    ]


def _nothing_to_quantize(structure: "Structure", exclude: tuple[str, ...]) -> UnsupportedError:
    reasons = dict.fromkeys(f"{op.op} {op.reason}" for op in structure.floats)
    fewer = "exclude fewer operations, or " if exclude else ""
    return UnsupportedError(
        f"no operation of the model can be quantized: {'; '.join(list(reasons)[:5])}",
        hint=f"{fewer}build a float program: --precision float32",
    )


def _signal_lost(sqnr_db: float, least: float) -> AccuracyError:
    """SQNR is too low for the result to be of use."""
    if sqnr_db <= LOST_DB:
        message = "the model's output is NaN, or nothing but zeros, on the validation samples"
        return AccuracyError(
            f"quantize: {message}", hint="check the weights, and the data's scale, mean and std"
        )
    return AccuracyError(
        f"quantize: an SQNR of {sqnr_db:.1f} dB is below the {least:g} dB that are accepted",
        hint="try --calibration percentile or mse, --exclude the operations that lose most, or "
        f"take it as it is: --accept-sqnr {math.floor(sqnr_db)}",
    )


def _sqnr_db(real: "onnx.ModelProto", quantized: "onnx.ModelProto", feed: "Feed") -> float:
    """The SQNR of the logits on validation samples: the test split is for the last word only."""
    from edgekiln.compiler.onnx_model.stream_session import open_session
    from edgekiln.compiler.quantization.qdq import logits
    from edgekiln.compiler.quantization.ranges import whole_batches, with_outputs
    from edgekiln.compiler.quantization.sqnr import Sqnr

    compared = logits(real)
    # The reference may be optimized; what is measured must round where the model says.
    reference = open_session(with_outputs(real, compared), optimize=True)
    candidate = open_session(with_outputs(quantized, compared), optimize=False)
    sqnr = Sqnr()
    # A model of a fixed batch takes whole ones alone: the rest of the samples is left out.
    takes = feed.takes
    batches = feed.batches("val", batch=takes.at_once(_SQNR_BATCH), samples=_SQNR_SAMPLES)
    for x in whole_batches(batches, takes):
        for exact, rounded in zip(reference(x, compared), candidate(x, compared), strict=True):
            sqnr.add(exact, rounded)
    return sqnr.db
