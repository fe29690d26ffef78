"""The front of a search as a gate: no point of it may be better than a bundle."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekiln.compiler.ci import gates
from edgekiln.compiler.ci.produce import CiRequest, produce
from edgekiln.compiler.ci.result import GateVerdict, JobResult
from edgekiln.compiler.sweep.front_document import FrontResult
from edgekiln.compiler.sweep.measures import COSTS, facts_of
from edgekiln.runtime.errors import InputError
from tests.compiler.ci.results import MACHINE, TARGET, bench, job, result
from tests.compiler.search.fronts import front

FRONT = "/home/user/front.json"
KNOWN = replace(front(), target=TARGET, machine=MACHINE)


def built(accuracy: float, latency_us: float, size: int, **changes: Any) -> JobResult:
    """A bundle that was measured as the front's points were."""
    found = result(accuracy, **changes)
    assert found.build is not None
    (target,) = found.build.targets
    parts = replace(target, code_bytes=0, weights_bytes=size)
    return replace(
        found,
        build=replace(found.build, targets=(parts,)),
        bench=bench([latency_us * part for part in (0.99, 1.0, 1.01)]),
    )


def judged(now: JobResult, known: FrontResult = KNOWN, **demanded: Any) -> GateVerdict:
    found = gates.judge([(job(front=FRONT, **demanded), now)], None, {FRONT: known})
    return next(verdict for verdict in found if verdict.gate == "front")


def test_a_point_of_the_front_holds_against_it() -> None:
    verdict = judged(built(0.89, 20, 40_000))
    assert (verdict.status, verdict.exit_code) == ("pass", 0)
    assert verdict.message == (
        "accuracy 89.00%, latency 20 µs, bytes 40,000 B: none of 3 points of front.json is better"
    )


def test_what_a_point_is_better_than_fails_and_names_it() -> None:
    verdict = judged(built(0.84, 25, 45_000))
    assert (verdict.status, verdict.exit_code) == ("fail", 11)
    assert verdict.message == (
        "trial 2 of front.json is better: accuracy 89.00% against 84.00%, latency 20 µs against "
        "25 µs, bytes 40,000 B against 45,000 B"
    )


@pytest.mark.parametrize(
    ("accuracy", "latency_us", "size"),
    [
        (0.88, 20.1, 40_000),  # within the standard error of 400 samples, and between the trials
        (0.84, 25, 39_999),  # smaller than the point that is better in all else
        (0.96, 50, 90_000),
    ],
)
def test_what_is_worse_by_chance_or_better_in_one_objective_holds(
    accuracy: float, latency_us: float, size: int
) -> None:
    assert judged(built(accuracy, latency_us, size)).status == "pass"


def test_where_an_objective_is_unknown_nothing_is_judged() -> None:
    now = built(0.84, 25, 45_000)
    score = replace(now.score, n=399) if now.score else None
    cases = {
        "latency of front.json: no CPU here": (replace(now, bench=None, unmeasured="no CPU here"),
                                               KNOWN),
        "latency of front.json: the baseline was measured on Other": (
            now, replace(KNOWN, machine=replace(MACHINE, cpu="Other"))),
        "front.json is of rpi5, and this is for x86-64-v3": (now, replace(KNOWN, target="rpi5")),
        "accuracy of trial 1: of other samples": (built(0.84, 25, 45_000, score=score), KNOWN),
        "accuracy of front.json: it has no such score": (built(0.84, 25, 45_000, score=replace(
            now.score, metric="auc") if now.score else None), KNOWN),
        "cycles of front.json: `edgekiln ci` does not know it": (
            now, replace(KNOWN, objectives=(facts_of(COSTS["cycles"]),))),
    }  # fmt: skip
    found = {why: judged(*case) for why, case in cases.items()}
    assert {verdict.status for verdict in found.values()} == {"fail"}
    assert {verdict.exit_code for verdict in found.values()} == {12}
    assert [why for why, verdict in found.items() if why not in verdict.message] == []
    skipped = judged(built(0.84, 25, 45_000, score=score), if_unmeasured="skip")
    assert skipped.status == "skip"


def test_a_front_that_is_not_there_is_said_before_anything_is_built(tmp_path: Path) -> None:
    config = tmp_path / "edgekiln.toml"
    config.write_text('[models.resnet8]\ngates = { front = "fronts/absent.json" }\n')
    with pytest.raises(InputError, match=r"no such file: .*fronts/absent\.json"):
        produce(CiRequest(path=config, out=tmp_path / "dist"), print)
    assert [path.name for path in tmp_path.iterdir()] == ["edgekiln.toml"]


def test_a_front_without_points_holds_nothing() -> None:
    """So it may not pass: whoever set the gate wants to be held against something."""
    nowhere = replace(KNOWN, points=tuple(replace(each, on_front=False) for each in KNOWN.points))
    verdict = judged(built(0.01, 99, 90_000), nowhere)
    assert (verdict.status, verdict.message) == (
        "fail",
        "cannot be judged: front.json has no point that is on the front",
    )
    assert judged(built(0.01, 99, 90_000), replace(KNOWN, points=())).status == "fail"
