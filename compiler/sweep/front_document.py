"""What a search tells: `front.json`, from which a point is picked without measuring anything, and
which a bundle can be held against.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from edgekiln.compiler.packaging.report import Score
from edgekiln.compiler.sweep.front import SpreadValue
from edgekiln.compiler.sweep.measures import COSTS, Measure, ObjectiveFacts
from edgekiln.compiler.sweep.result import TrialRow
from edgekiln.models.tasks.metric import Metric
from edgekiln.runtime import codec
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.hints import ABSENT_WHEN_EMPTY
from edgekiln.runtime.host import Machine
from edgekiln.runtime.limits import read_regular, reading_hint

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


def read_front(path: Path) -> tuple[FrontResult, Path]:
    """A front, and the path of its document. `path`: that one, or its directory.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    place = path / FRONT if path.is_dir() else path
    try:
        data = codec.loads(read_regular(place))
        schema = data.pop("schema", None) if isinstance(data, dict) else None
        if schema != SCHEMA:
            raise InputError(f"{place} is no front", f"give a {FRONT} that `edgekiln search` wrote")
        result = codec.decode(FrontResult, data)
        _check_whole(result)
        return result, place
    except FileNotFoundError:
        raise InputError(f"no such file: {place}", "edgekiln search writes one") from None
    except OSError as error:
        hint = reading_hint(error, "give a file that can be read")
        raise InputError(f"cannot read {place}: {error.strerror}", hint) from error
    except ValueError as error:
        raise InputError(f"{place}: {error}", "search again, or mend the file") from error


def _check_whole(result: FrontResult) -> None:
    """Raises CodecError: the front has no objectives, a point lacks a value or has one beyond its
    own spread, or a path leads elsewhere.
    """
    names = [each.name for each in result.measures]
    if not result.objectives or len({*names}) < len(names):
        raise codec.CodecError("objectives: wanted some, each once")
    for i, point in enumerate(result.points):
        for name in names:
            if name not in point.values:
                raise codec.CodecError(f"points[{i}].values.{name}: missing")
            spread = point.values[name]
            if not spread.low <= spread.value <= spread.high:
                raise codec.CodecError(f"points[{i}].values.{name}: not within its own spread")
        for key, path in (("bundle", point.bundle), ("recipe", point.recipe)):
            if PurePath(path).is_absolute() or ".." in PurePath(path).parts or "\0" in path:
                raise codec.CodecError(f"points[{i}].{key}: {path!r} is no file beside the front")


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
