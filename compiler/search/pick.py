"""One point of a front, as limits want it. Only what is stored counts: it answers at once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekiln.compiler.sweep.front_document import FrontPoint, FrontResult
from edgekiln.compiler.sweep.measures import Measure, MeasureLimit, named_measure, parse_limit
from edgekiln.runtime.bundle import sha256
from edgekiln.runtime.errors import BundleError, GateError
from edgekiln.runtime.limits import BUNDLES, read_file

PICK_SCHEMA = "edgekiln.pick/1"


@dataclass(frozen=True, kw_only=True)
class PickedPoint:
    """The best point of a front within limits, and where its files lie."""

    front: str  # path of the document
    limits: tuple[str, ...]
    by: str  # the objective it is the best by
    bundle: str  # path
    recipe: str  # path
    doubts: tuple[str, ...]  # limits that lie within a spread; a bundle that is not there
    point: FrontPoint


def picked(result: FrontResult, document: Path, where: Sequence[str], by: str) -> PickedPoint:
    """The best point on the front within all limits; of equal ones the one that comes first.

    Args:
        document: the path of the front, where its own paths begin.
        where: limits, such as "latency<5ms".
        by: an objective; "": the first one.

    Raises:
        ConfigError: a limit of what is not known.
        GateError: no point is within them, or there is none at all.
    """
    known = {each.name: each for each in result.measures}
    limits = [parse_limit(text, known) for text in where]
    measure = named_measure(by, known, "--by") if by else result.measures[0]
    within = [p for p in result.front if all(x.holds(_value(p, x.measure)) for x in limits)]
    if not within:
        raise _none_within(result, limits)
    sign = -1.0 if measure.maximized else 1.0
    home = document.parent
    point = min(within, key=lambda each: sign * _value(each, measure))
    return PickedPoint(
        front=str(document),
        limits=tuple(map(str, limits)),
        by=measure.name,
        bundle=str(home / point.bundle),
        recipe=str(home / point.recipe),
        doubts=tuple(text for limit in limits if (text := _doubt(point, limit))),
        point=point,
    )


def checked(found: PickedPoint) -> PickedPoint:
    """The same, with a doubt where its bundle is not there.

    Raises:
        BundleError: another bundle lies there than the one that was measured.
        InputError: it cannot be read.
    """
    path = Path(found.bundle)
    if not path.exists():
        return replace(found, doubts=(*found.doubts, f"there is no {path}"))
    content = read_file(path, BUNDLES, "take the directory whole, as `edgekiln search` wrote it")
    if sha256(content) != found.point.bundle_sha256:
        raise BundleError(
            f"{path}: is another bundle than the one that was measured", "search again"
        )
    return found


def _value(point: FrontPoint, measure: Measure) -> float:
    return point.values[measure.name].value


def _doubt(point: FrontPoint, limit: MeasureLimit) -> str:
    """What to say of a limit that the point keeps to by less than its spread."""
    measure, spread = limit.measure, point.values[limit.measure.name]
    if limit.holds(spread.low) and limit.holds(spread.high):
        return ""
    low, high = measure.shown(spread.low), measure.shown(spread.high)
    return f"{limit}: it was measured between {low} and {high}"


def none_on_front(result: FrontResult) -> GateError:
    """Why nothing can be picked: every point was beyond a limit when it was measured well."""
    whys = ", ".join(f"trial {each.trial} is {each.why}" for each in result.points)
    return GateError(
        f"the front has no points: {whys or 'nothing was found'}",
        "search on, with limits that leave more by --where",
    )


def _none_within(result: FrontResult, limits: Sequence[MeasureLimit]) -> GateError:
    if not result.front:
        return none_on_front(result)
    nearest = min(
        result.front,
        key=lambda point: sum(max(0.0, x.excess(_value(point, x.measure))) for x in limits),
    )
    missed = [x for x in limits if not x.holds(_value(nearest, x.measure))]
    told = ", ".join(x.measure.told(_value(nearest, x.measure)) for x in missed)
    return GateError(
        f"no point of the front has {' and '.join(map(str, limits))}: the nearest, trial "
        f"{nearest.trial}, has {told}",
        "allow more, or search on with these limits by --where",
    )
