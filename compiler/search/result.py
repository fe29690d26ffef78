"""What a search tells: `front.json`, from which a point is picked without measuring anything."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgekiln.compiler.packaging.report import Score
from edgekiln.compiler.sweep.front import SpreadValue
from edgekiln.compiler.sweep.measures import COSTS, Measure, ObjectiveFacts
from edgekiln.compiler.sweep.result import TrialRow
from edgekiln.models.tasks.metric import Metric
from edgekiln.runtime.hints import ABSENT_WHEN_EMPTY
from edgekiln.runtime.host import Machine

SCHEMA = "edgekiln.front/1"
FRONT = "front.json"  # the document's name in a search's directory
PAGE = "front.html"


@dataclass(frozen=True, kw_only=True)
class PointCheck:
    """Whether a program computes what its model says, bit by bit."""

    where: Literal["host", "device", "emulator", "nowhere"]
    reason: str  # why not on the host, or nowhere
    equal: tuple[str, ...]  # outputs of the bundle's example that are as expected
    samples: int  # whose layers were compared with ONNX Runtime's; 0: no layer was seen
    layers: int


@dataclass(frozen=True, kw_only=True)
class FrontPoint:
    """A trial that was rebuilt, measured again and checked."""

    trial: int
    on_front: bool
    why: str  # why it is not on the front; "" if it is
    model: str  # with its arguments, as `edgekiln build` takes it
    options: Mapping[str, str]  # "prune.ratio" → its value, as a recipe has it
    recipe: str  # path, beside the document
    bundle: str  # path, beside the document
    bundle_sha256: str
    # Objectives and what is limited, in SI units. The spread: of a latency or energy between the
    # trials of a benchmark, of a share one standard error; none of what is the same every time.
    values: Mapping[str, SpreadValue]
    test: tuple[Score, ...]  # on the test split, by which nothing was chosen
    check: PointCheck


@dataclass(frozen=True, kw_only=True)
class FrontResult:
    """The front of a search, and all that it was chosen from."""

    model: str
    target: str
    device: str  # where it was measured; "": here
    machine: Machine | None  # that one; null: nothing was measured
    data: str
    seed: int
    study: str
    storage: str
    sampler: str
    objectives: tuple[ObjectiveFacts, ...]
    limited: tuple[ObjectiveFacts, ...]  # what is limited besides
    limits: tuple[str, ...]
    space: Mapping[str, str]  # "prune.ratio" → "0.3..0.8"
    spent_s: float  # on the trials, pauses apart
    warnings: tuple[str, ...]  # of the benchmark
    points: tuple[FrontPoint, ...]  # in the order of the second objective, the best first
    trials: tuple[TrialRow, ...]
    # Objective → parameter → share of the differences that it explains.
    importances: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict, metadata=ABSENT_WHEN_EMPTY
    )

    @property
    def front(self) -> tuple[FrontPoint, ...]:
        """The points that are on the front."""
        return tuple(each for each in self.points if each.on_front)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What each point's values are: the objectives first."""
        return tuple(map(measure_of, (*self.objectives, *self.limited)))


def measure_of(facts: ObjectiveFacts) -> Measure:
    """The measure that a document names."""
    if facts.name in COSTS:
        return COSTS[facts.name]
    metric = Metric(name=facts.name, unit=facts.unit, better=facts.better, share=facts.share)
    return Measure(name=facts.name, metric=metric, needs="score")


def shown_with_spread(measure: Measure, spread: SpreadValue) -> str:
    """A value for people, and how far it may be off: points of a share, percent of the rest."""
    text = measure.shown(spread.value)
    by = max(spread.high - spread.value, spread.value - spread.low)
    if not by:
        return text
    if measure.metric.share:
        return f"{text} ± {100 * by:.1f}"
    return f"{text} ± {100 * by / abs(spread.value):.1f} %"
