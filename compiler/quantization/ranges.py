"""The activations' values on calibration data, in bounded memory: ranges, then histograms."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.model_inputs import Inputs, ModelInputs
from edgekiln.compiler.quantization.softmax_views import leading_to_softmax, softmax_views
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    import onnx

BINS = 2048
LEVELS = 255  # steps of an int8 range
# Of all observed activations of one run together; samples are cut into runs that stay below.
BUDGET_BYTES = 128 * 2**20
_LEAST = float(np.finfo(np.float32).min)  # what -inf counts as

Range = tuple[float, float]
# By batch size: the inputs of calls, the same samples each time.
Batches = Callable[[int], Iterable[Inputs]]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How often a tensor's values fall into `BINS` equal bins over [low, high], which holds 0.

    Exact zeros (half the values after a ReLU) are counted apart: every quantized range has a level
    for 0, so they never carry an error.
    """

    low: float
    high: float
    counts: NDArray[np.int64]  # (BINS,), without the exact zeros
    zeros: int = 0

    @property
    def edges(self) -> NDArray[np.float64]:
        """(BINS + 1,), ascending."""
        return np.linspace(self.low, self.high, BINS + 1)

    @property
    def centers(self) -> NDArray[np.float64]:
        """The middle of each bin, (BINS,)."""
        edges = self.edges
        return (edges[:-1] + edges[1:]) / 2

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(-self.low, self.high)

    def clipped_to(self, threshold: float) -> Range:
        """The range without what is larger in magnitude than `threshold`."""
        return max(self.low, -threshold), min(self.high, threshold)


class Observer:
    """Runs a float model and looks at its activations.

    Args:
        model: float; not changed.
        tensors: names of activations. Those that hold no floats are left out of all results.
        batch: samples a run at most; less where `BUDGET_BYTES` asks for it.
    """

    def __init__(self, model: "onnx.ModelProto", tensors: Sequence[str], *, batch: int) -> None:
        from edgekiln.compiler.onnx_model import model_inputs
        from edgekiln.compiler.onnx_model.stream_session import open_session

        self._takes = model_inputs.of_model(model)
        given = {each.name for each in self._takes.inputs}
        self._given = [name for name in tensors if name in given]
        self._wanted = [name for name in tensors if name not in given]
        kept = {state.input for state in self._takes.states}
        made = [name for name in self._wanted if name not in kept]
        self._session = open_session(with_outputs(model, made), optimize=True)
        self._batch = batch
        self._views, self._masks = softmax_views(model), leading_to_softmax(model)

    def ranges(self, batches: Batches) -> dict[str, Range]:
        """Lowest and highest value of each tensor, widened to hold 0. A mask may hold -inf, which
        counts as the least float32.

        Raises:
            InputError: an activation is NaN or infinite; the message names the tensor.
        """
        found: dict[str, Range] = {}
        for values in self._runs(batches):
            for name, array in values.items():
                low, high = found.get(name, (0.0, 0.0))
                low, high = min(low, float(array.min())), max(high, float(array.max()))
                if name in self._masks and high < np.inf and not np.isnan(array).any():
                    low = max(low, _LEAST)
                elif not np.isfinite(array).all():
                    raise InputError(
                        f"activation {name!r} is NaN or infinite on the calibration data",
                        hint="check the weights, and the data's scale, mean and std",
                    )
                found[name] = (low, high)
        return found

    def histograms(self, batches: Batches, ranges: Mapping[str, Range]) -> dict[str, Histogram]:
        """Count the values of the same samples, once `ranges` knows where they lie."""
        counts = {name: np.zeros(BINS, np.int64) for name in ranges}
        zeros = dict.fromkeys(ranges, 0)
        for values in self._runs(batches):
            for name, array in values.items():
                nonzero = array[array != 0]
                zeros[name] += array.size - nonzero.size
                counts[name] += np.histogram(nonzero, BINS, range=_open(ranges[name]))[0]
        return {
            name: Histogram(low=low, high=high, counts=counts[name], zeros=zeros[name])
            for name, (low, high) in ranges.items()
        }

    def _runs(self, batches: Batches) -> Iterator[dict[str, NDArray[np.float32]]]:
        if not (self._given or self._wanted):  # a session asked for nothing gives all it has
            return
        for x in whole_batches(batches(self._batch_size(batches)), self._takes):
            # Of whichever numbers the model gives.
            values: dict[str, NDArray[Any]] = {name: x[name] for name in self._given}
            if self._wanted:
                values |= dict(zip(self._wanted, self._session(x, self._wanted), strict=True))
            yield {
                name: self._seen(name, array, values)
                for name, array in values.items()
                if array.dtype == np.float32 and array.size
            }

    def _seen(
        self, name: str, array: NDArray[np.float32], values: Mapping[str, NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        view = self._views.get(name)
        if view is None or view.scores not in values:
            return array
        return view.seen(array, values[view.scores])

    def _batch_size(self, batches: Batches) -> int:
        if self._takes.batch is not None:
            return self._takes.batch
        if not self._wanted:
            return self._batch
        # A single sample shows how much memory its activations take.
        first = next(iter(batches(1)))
        bytes_a_sample = sum(array.nbytes for array in self._session(first, self._wanted))
        return max(1, min(self._batch, BUDGET_BYTES // max(1, bytes_a_sample)))


def whole_batches(batches: Iterable[Inputs], takes: ModelInputs) -> Iterator[Inputs]:
    """Those that a model of a fixed batch takes: the last one may be smaller.

    Raises:
        InputError: there is none.
    """
    count = 0
    for x in batches:
        if takes.fits(x):
            count += 1
            yield x
    if not count:
        raise InputError(
            f"the data has fewer samples than the model's fixed batch of {takes.batch}",
            hint="give more data, or export the model with an open batch",
        )


def _open(span: Range) -> Range:
    """A histogram needs a width; a tensor of zeros has none, and no counts either."""
    low, high = span
    return (low, high) if low < high else (0.0, 1.0)


def with_outputs(model: "onnx.ModelProto", tensors: Iterable[str]) -> "onnx.ModelProto":
    """A copy that also gives these tensors, behind its own outputs."""
    import onnx

    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    present = {value.name for value in shown.graph.output}
    for name in tensors:
        if name not in present:
            shown.graph.output.append(onnx.ValueInfoProto(name=name))
    return shown
