"""Studies of a front: what they try, when they end, and that they go on where they were."""

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from edgekiln.compiler.pipeline.stage import silent
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.sweep.front import front_rows
from edgekiln.compiler.sweep.plan import SweepPlan
from edgekiln.compiler.sweep.result import TrialRow
from edgekiln.compiler.sweep.run import run_trials
from edgekiln.compiler.sweep.study import SharedStudy
from edgekiln.runtime.errors import ConfigError
from tests.compiler.sweep.small import GRID, planned, trained

BOTH = ("accuracy", "macs")  # of `small.Train` each rate up to the best one is on the front


def plan_of(home: Path, **changes: object) -> SweepPlan:
    return planned(home, **{"front": True, "objectives": BOTH, **changes})


def rows_of(home: Path, **changes: object) -> tuple[TrialRow, ...]:
    plan, store = plan_of(home, **changes), Store(home / "store")
    with closing(SharedStudy(plan, store)) as study:
        run_trials(plan, store, "", study, silent)
        return study.rows()


def rates(rows: tuple[TrialRow, ...]) -> list[float]:
    return [float(row.options["distill.rate"]) for row in rows]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_search_finds_points_between_the_best_and_the_cheapest(
    tmp_path: Path, sampler: str
) -> None:
    rows = rows_of(tmp_path, trials=16, sampler=sampler, params=("distill.rate=0.05..0.85",))
    front = front_rows(rows, plan_of(tmp_path, trials=16).objectives)
    assert len(front) >= 5
    # More multiply-accumulates are paid for accuracy alone.
    by_cost = sorted(front, key=lambda row: row.measures["macs"])
    accuracies = [row.measures["accuracy"] for row in by_cost]
    assert accuracies == sorted(accuracies)
    assert max(float(row.options["distill.rate"]) for row in front) < 0.7


def test_no_trial_is_stopped_for_being_worse_in_one_objective(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, trials=12, params=("distill.rate=0.05..0.85",))
    assert {row.state for row in rows} == {"done"}


def test_limits_hold_for_a_front_too(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, trials=12, where=("macs<=400",))
    plan = plan_of(tmp_path, trials=12)
    found = front_rows(rows, plan.objectives)
    assert found
    assert all(row.measures["macs"] <= 400 for row in found)


def test_nothing_is_tried_twice_and_a_small_space_ends(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, params=GRID, trials=None, budget_s=3600.0)
    assert len(rows) == 6
    assert len(trained(tmp_path)) == len(set(trained(tmp_path))) == 6


def test_the_budget_ends_a_study_and_more_of_it_goes_on(tmp_path: Path) -> None:
    begin_s = time.monotonic()
    few = rows_of(tmp_path, trials=None, budget_s=1.0)
    assert few, "the first trial begins whatever the budget"
    assert time.monotonic() - begin_s < 60
    assert rows_of(tmp_path, trials=None, budget_s=1e-3) == few
    more = rows_of(tmp_path, trials=len(few) + 2, budget_s=None)
    assert rates(more)[: len(few)] == rates(few)
    assert len(more) == len(few) + 2


def test_a_search_that_goes_on_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    for name in ("straight", "parts"):
        (tmp_path / name).mkdir()
    straight = rows_of(tmp_path / "straight", trials=8)
    rows_of(tmp_path / "parts", trials=4)
    assert rates(rows_of(tmp_path / "parts", trials=8)) == rates(straight)


def test_what_explains_an_objective_is_told_of_each(tmp_path: Path) -> None:
    plan, store = plan_of(tmp_path, trials=8, params=GRID), Store(tmp_path / "store")
    with closing(SharedStudy(plan, store)) as study:
        run_trials(plan, store, "", study, silent)
        shares = [study.importances(place) for place in range(2)]
    assert shares[1]["distill.rate"] > shares[1]["distill.method"]
    assert set(shares[0]) == {"distill.rate", "distill.method"}


def test_a_study_of_other_objectives_is_another_one(tmp_path: Path) -> None:
    rows_of(tmp_path, trials=1)
    with pytest.raises(ConfigError, match="has another objective: accuracy, macs"):
        rows_of(tmp_path, trials=1, objectives=("accuracy", "parameters"))


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        (("accuracy",), "--objectives accuracy: a front is of two objectives or more"),
        (("accuracy", "macs", "accuracy"), "accuracy is named twice"),
        (("accuracy", "bites"), "--objectives bites: nothing is measured by this name"),
    ],
)
def test_objectives_that_make_no_front_are_refused_at_once(
    tmp_path: Path, objectives: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_of(tmp_path, objectives=objectives)
    assert not (tmp_path / "study.log").exists()


def test_the_recipe_may_name_the_objectives(tmp_path: Path) -> None:
    base = plan_of(tmp_path).request
    recipe = replace(base.recipe, sweep={"objectives": ["macs", "accuracy"]})
    plan = plan_of(tmp_path, recipe=recipe, objectives=())
    assert [each.name for each in plan.objectives] == ["macs", "accuracy"]
