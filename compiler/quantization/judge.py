"""What a quantized model is worth on validation samples: signal to noise, and what the task loses.

Choices are made by this, and never on the test split, which has the last word.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.quantization.float_ends import answers, logits
from edgekiln.compiler.quantization.ranges import whole_batches, with_outputs
from edgekiln.compiler.quantization.sqnr import OutputNoises
from edgekiln.models.tasks.tally import Measured, Tally, in_rows, outputs_by_head

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.feed import Feed
    from edgekiln.compiler.onnx_model.model_inputs import Inputs

BATCH = 32
_KEPT_BYTES = 256 * 2**20  # of the float model's outputs
# Standard errors of a signal that may be luck: of other samples than these nearly all keep as much.
# Three and not two, for what is chosen is the cheapest of many, and noise has rare large values.
_SURE = 3.0
_BLOCKS = 16  # that the samples are cut into, to see how sure a difference is


@dataclass(frozen=True, kw_only=True)
class QualityLimits:
    """What an int8 model has to keep of its float one."""

    lost: Mapping[str, float] = field(default_factory=dict)  # at most, by the label of a score
    min_sqnr_db: float | None = None  # of each output


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One int8 model against the float one, on the same samples.

    `lost` and `doubt` are by the label of a score: percentage points of a share, else percent of
    what the float model has; `doubt` is the standard error of `lost`.
    """

    sqnr_db: float  # of the logits of all outputs together
    least_db: float  # of the output, or of the logits, that keep least
    least_output: str = ""  # its name
    # What each output keeps for sure: its own standard errors are taken off. None: nobody knows.
    sure_db: float | None = None
    scores: tuple[Measured, ...] = ()  # of the int8 model; none without labels
    lost: Mapping[str, float] = field(default_factory=dict)
    doubt: Mapping[str, float] = field(default_factory=dict)

    def excess(self, limits: QualityLimits, *, surely: bool = False) -> float:
        """How much more is lost than may be, of the worst score, or how many decibels are missing;
        at most 0 where all hold.

        Args:
            surely: count what the samples leave in doubt as lost.
        """
        found = [
            self.lost[label] + (self.doubt[label] if surely else 0.0) - limit
            for label, limit in limits.lost.items()
        ]
        if limits.min_sqnr_db is not None:
            sure_db = self.least_db if self.sure_db is None else self.sure_db
            found.append(limits.min_sqnr_db - (sure_db if surely else self.least_db))
        return max(found, default=0.0)


class Judge:
    """The float model's answers to validation samples."""

    def __init__(
        self, model: "onnx.ModelProto", feed: "Feed", *, samples: int, scored: bool
    ) -> None:
        """Run the float model.

        Args:
            scored: whether labels are asked what is lost, where the data has any.
            samples: the first ones of the validation split that are taken at most; fewer of a model
                whose outputs are large.

        Raises:
            InputError: the data has fewer samples than the model's fixed batch.
        """
        from edgekiln.compiler.onnx_model.stream_session import open_session

        self._feed, self._scored = feed, scored and feed.scored
        self._logits = list(dict.fromkeys(logits(model)))
        self._answers = [value.name for value in model.graph.output] if self._scored else []
        self._results = answers(model)
        wanted = self._wanted
        # The reference may be optimized; what is measured must round where the model says.
        session = open_session(with_outputs(model, wanted), optimize=True)
        self._calls: list[Inputs] = []
        self._exact: list[list[NDArray[np.generic]]] = []
        kept = 0
        # A model of a fixed batch takes whole ones alone: the rest of the samples is left out.
        # Of few samples the calls are small, too: what is in doubt is told from call to call.
        held = len(feed.parts["val"])
        count = min(held, samples or held)
        at_once = feed.takes.at_once(min(BATCH, max(1, count // _BLOCKS)))
        batches = feed.batches("val", batch=at_once, samples=samples)
        for call in whole_batches(batches, feed.takes):
            results = session(call, wanted)
            self._calls.append(call)
            self._exact.append([array.copy() for array in results])
            kept += sum(array.nbytes for array in results)
            if kept > _KEPT_BYTES:
                break
        self.samples = sum(feed.takes.samples_in(call) for call in self._calls)
        self.holds_all = self.samples == held
        self._tallies = self._tallied(self._exact)
        self.scores: tuple[Measured, ...] = _measured(self._tallies)

    @property
    def _wanted(self) -> list[str]:
        return list(dict.fromkeys([*self._logits, *self._results, *self._answers]))

    def verdict(self, quantized: "onnx.ModelProto") -> Verdict:
        """Hold an int8 model against the float one."""
        from edgekiln.compiler.onnx_model.stream_session import open_session

        wanted = self._wanted
        session = open_session(with_outputs(quantized, wanted), optimize=False)
        # States are wanted where labels are asked, and are no answers.
        heard = len(dict.fromkeys([*self._logits, *self._results]))
        noises, results = OutputNoises(heard), []
        for call, exact in zip(self._calls, self._exact, strict=True):
            found = session(call, wanted)
            results.append(found)
            noises.add(exact[:heard], found[:heard])
        tallies = self._tallied(results)
        scores = _measured(tallies)
        pairs = zip(self.scores, scores, strict=True)
        return Verdict(
            sqnr_db=noises.db_of(range(len(self._logits))),
            least_db=noises.db_of([noises.least]),
            least_output=wanted[noises.least],
            sure_db=noises.least_sure_db(_BLOCKS, _SURE),
            scores=scores,
            lost={own.label: own.metric.lost(was.value, own.value) for was, own in pairs},
            doubt=self._doubt(tallies),
        )

    def _tallied(self, results: Sequence[Sequence[NDArray[np.generic]]]) -> list[Tally]:
        """What each call answers."""
        if not self._scored:
            return []
        targets = self._feed.targets("val")
        found, start = [], 0
        places = {name: place for place, name in enumerate(self._wanted)}
        for call, arrays in zip(self._calls, results, strict=True):
            count = self._feed.takes.samples_in(call)
            outputs = {name: arrays[places[name]] for name in self._answers}
            rows = [
                [in_rows(each, count) for each in of_head]
                for of_head in outputs_by_head(self._feed.heads, outputs)
            ]
            tally = Tally(self._feed.heads)
            given = {name: in_rows(x, count) for name, x in call.items()}
            part = {name: y[start : start + count] for name, y in targets.items()}
            tally.add(rows, given, part)
            found.append(tally)
            start += count
        return found

    def _doubt(self, tallies: Sequence[Tally]) -> dict[str, float]:
        """The standard error of each loss, from those of blocks of samples; 0 where a block alone
        cannot be judged.
        """
        count = min(_BLOCKS, len(tallies))
        own = [_joined(tallies[block::count]) for block in range(count)]
        before = [_joined(self._tallies[block::count]) for block in range(count)]
        if count < 2 or not all(_can_judge(tally) for tally in (*own, *before)):
            return dict.fromkeys((score.label for score in self.scores), 0.0)
        losses: dict[str, list[float]] = {score.label: [] for score in self.scores}
        for was, now in zip(before, own, strict=True):
            for a, b in zip(was.measured(), now.measured(), strict=True):
                losses[a.label].append(a.metric.lost(a.value, b.value))
        return {
            label: float(np.std(each, ddof=1)) / sqrt(count) if np.isfinite(each).all() else 0.0
            for label, each in losses.items()
        }


def _joined(tallies: Sequence[Tally]) -> Tally:
    return tallies[0].join(tallies)


def _measured(tallies: Sequence[Tally]) -> tuple[Measured, ...]:
    return _joined(tallies).measured() if tallies else ()


def _can_judge(tally: Tally) -> bool:
    return all(
        head.task.can_judge(np.concatenate(targets))
        for head, targets in zip(tally.heads, tally.targets, strict=True)
    )
