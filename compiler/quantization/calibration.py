"""The ranges of a model's activations on calibration samples, by any of the methods."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from edgekiln.compiler.quantization.entropy import entropy_range
from edgekiln.compiler.quantization.mse import mse_range
from edgekiln.compiler.quantization.percentile import percentile_range
from edgekiln.compiler.quantization.ranges import Histogram, Observer, Range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx

    from edgekiln.compiler.onnx_model.feed import Feed, PartName
    from edgekiln.compiler.onnx_model.model_inputs import Inputs
    from edgekiln.compiler.pipeline.stage import Advance

Method = Literal["minmax", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)
LEAST_SAMPLES = 32  # see `parts_of`


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Samples and the method by which they give ranges."""

    feed: "Feed"
    samples: int  # 0: all there are
    batch: int
    method: Method = "minmax"
    percentile: float = 99.99
    advance: "Advance"

    def ranges(self, model: "onnx.ModelProto", tensors: list[str]) -> dict[str, Range]:
        """The range of each of a float model's activations, which holds 0."""
        found = self.by_methods(model, tensors, (self.method,))
        return {name: ranges[self.method] for name, ranges in found.items()}

    def by_methods(
        self, model: "onnx.ModelProto", tensors: list[str], methods: tuple[Method, ...]
    ) -> dict[str, dict[Method, Range]]:
        """The range of each tensor by each of several methods, from the same samples."""
        observer = Observer(model, tensors, batch=self.batch)
        # A histogram needs the range first, so that all other methods walk over the samples twice.
        counted = any(method != "minmax" for method in methods)
        batches = self._batches(" ".join(methods), passes=2 if counted else 1)
        ranges = observer.ranges(batches)
        found: dict[str, dict[Method, Range]] = {name: {"minmax": r} for name, r in ranges.items()}
        if counted:
            for name, histogram in observer.histograms(batches, ranges).items():
                found[name] = {method: self._estimate(method, histogram) for method in methods}
        return found

    def calls(self, samples: int) -> "list[Inputs]":
        """The inputs of calls of the first calibration samples."""
        takes, left = self.feed.takes, samples
        found: list[Inputs] = []
        for part, count in parts_of(self.feed, self.samples):
            if left > 0:
                batch, wanted = takes.at_once(self.batch), min(left, count)
                found += self.feed.batches(part, batch=batch, samples=wanted)
                left -= wanted
        # A model of a fixed batch takes whole ones alone.
        return [call for call in found if takes.fits(call)]

    def walk_calls(self, samples: int) -> "list[Inputs]":
        """The inputs of calls, as `calls`; streams, which a walk takes step by step, are fewer, so
        that there are some `samples` steps.
        """
        if not self.feed.takes.states:
            return self.calls(samples)
        steps = max((len(array) for call in self.calls(1) for array in call.values()), default=1)
        return self.calls(max(1, samples // steps))

    def _batches(self, what: str, *, passes: int) -> "Callable[[int], Iterator[Inputs]]":
        parts = parts_of(self.feed, self.samples)
        total = sum(count for _, count in parts) * passes
        seen = 0

        def batches(size: int) -> "Iterator[Inputs]":
            nonlocal seen
            for part, count in parts:
                for x in self.feed.batches(part, batch=size, samples=count):
                    yield x
                    seen += self.feed.takes.samples_in(x)
                    self.advance(min(seen, total), total, f"calibrating ({what})")

        return batches

    def _estimate(self, method: Method, histogram: Histogram) -> Range:
        match method:
            case "percentile":
                return percentile_range(histogram, self.percentile)
            case "entropy":
                return entropy_range(histogram)
            case "mse":
                return mse_range(histogram)
            case "minmax":
                return histogram.low, histogram.high


def parts_of(feed: "Feed", samples: int) -> "list[tuple[PartName, int]]":
    """Where the calibration samples come from, and how many.

    A range that a handful of samples gave cuts off what all others have: a small data set's
    calibration split is filled up from the training split.
    """
    calib, train = feed.count("calib"), feed.count("train")
    wanted = min(samples or calib, calib)
    # Filled up to what was asked for, but no further than to what is enough for a range.
    more = min(train, (samples or LEAST_SAMPLES) - wanted, LEAST_SAMPLES - wanted)
    # Never from the test split, on which the result is judged.
    parts: list[tuple[PartName, int]] = [("calib", wanted)]
    return [*parts, ("train", more)] if more > 0 else parts
