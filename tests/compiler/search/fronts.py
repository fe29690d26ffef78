"""A front as a search writes it, without a search."""

from edgekiln.compiler.packaging.report import Score
from edgekiln.compiler.sweep.front import SpreadValue
from edgekiln.compiler.sweep.front_document import FrontPoint, FrontResult, PointCheck
from edgekiln.compiler.sweep.measures import COSTS, Measure, facts_of
from edgekiln.compiler.sweep.result import TrialRow
from edgekiln.models.tasks.metric import ACCURACY
from edgekiln.runtime.host import machine

ACCURATE = Measure(name="accuracy", metric=ACCURACY, needs="score")


def point(trial: int, accuracy: float, latency_s: float, size: float, why: str = "") -> FrontPoint:
    return FrontPoint(
        trial=trial,
        on_front=not why,
        why=why,
        model=f"resnet8?width={4 * trial}",
        options={"model.width": str(4 * trial), "prune.ratio": "0.5"},
        recipe=f"trial-{trial}/recipe.toml",
        bundle=f"trial-{trial}/resnet8-host.ekb",
        bundle_sha256="0" * 64,
        values={
            "accuracy": SpreadValue.around(accuracy, 0.01),
            "latency": SpreadValue(value=latency_s, low=latency_s * 0.98, high=latency_s * 1.01),
            "bytes": SpreadValue.exact(size),
        },
        test=(Score(value=accuracy - 0.01, metric="accuracy", n=400, of=400, unit="%"),),
        check=PointCheck(where="host", reason="", equal=("y",), samples=8, layers=12),
    )


def front() -> FrontResult:
    """Three points on the front, one that left it, and a trial that is nowhere near."""
    points = (
        point(1, 0.80, 10e-6, 20_000),
        point(2, 0.90, 20e-6, 40_000),
        point(4, 0.89, 21e-6, 41_000, "no better in anything than trial 2"),
        point(3, 0.95, 50e-6, 90_000),
    )
    other = TrialRow(
        number=9, state="done", holds=True,
        measures={"accuracy": 0.5, "latency": 40e-6, "bytes": 50_000},
        options={"model.width": "6", "prune.ratio": "0.5"}, reason="", wall_s=3.0,
    )  # fmt: skip
    return FrontResult(
        model="resnet8",
        target="host",
        device="",
        machine=machine(),
        data="digits",
        seed=0,
        study="resnet8",
        storage="sqlite:///dist/resnet8-search.db",
        sampler="tpe",
        objectives=tuple(map(facts_of, (ACCURATE, COSTS["latency"], COSTS["bytes"]))),
        limited=(),
        limits=("latency < 100 µs",),
        space={"model.width": "4..16:step=4", "prune.ratio": "0.2..1"},
        spent_s=120.0,
        warnings=("noisy: trials differ by 3.5%, more than 3%",),
        points=points,
        trials=(other,),
        importances={"accuracy": {"model.width": 0.75, "prune.ratio": 0.25}},
    )
