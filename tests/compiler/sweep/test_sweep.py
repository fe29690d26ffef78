"""A study: what it finds, what becomes of bad trials, and what an interruption leaves."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from edgekiln.compiler.build import driver
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.documents.progress import progress
from edgekiln.compiler.pipeline.stage import silent
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.sweep.plan import Candidate
from edgekiln.compiler.sweep.result import SweepResult
from edgekiln.compiler.sweep.study import SharedStudy
from edgekiln.compiler.sweep.sweep import sweep
from edgekiln.runtime.errors import ConfigError, GateError, StorageError, TrainingError
from tests.compiler.sweep.small import (
    BEST_RATE,
    CHAIN,
    DIVERGES,
    GRID,
    planned,
    reads_of_the_test_split,
    swept,
    trained,
)

FEW = ("distill.rate=0.1,0.2,0.3",)


def rates(result: SweepResult) -> list[float]:
    return [float(row.options["distill.rate"]) for row in result.trials]


@dataclass(frozen=True)
class Swept:
    """A study of 24 trials, just after its end."""

    home: Path
    result: SweepResult
    epochs: int  # that were trained
    reads: int  # of the test split


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    home = tmp_path_factory.mktemp("sweep")
    result = swept(home, trials=24)
    epochs = len((home / "train.log.epochs").read_text().splitlines())
    return Swept(home, result, epochs, reads_of_the_test_split(home))


def test_later_trials_are_nearer_to_the_best_values(long: Swept) -> None:
    result = long.result
    off = [abs(rate - BEST_RATE) for rate in rates(result)]
    assert sum(off[12:]) < sum(off[:12])
    assert result.best is not None
    assert abs(rates(result)[result.best] - BEST_RATE) < 0.05


def test_the_recipes_own_values_are_tried_first(long: Swept) -> None:
    result = long.result
    assert rates(result)[0] == 0.2  # the stage's default


def test_a_trial_that_diverges_is_recorded_and_the_study_goes_on(
    long: Swept,
) -> None:
    result = long.result
    failed = [row for row in result.trials if row.state == "failed"]
    assert failed
    assert {row.reason for row in failed} == {"training diverged"}
    assert all(float(row.options["distill.rate"]) > DIVERGES for row in failed)
    assert len(result.trials) == 24


def test_trials_that_fall_behind_are_stopped_early(long: Swept) -> None:
    result = long.result
    stopped = [row for row in result.trials if row.state == "stopped"]
    done = [row for row in result.trials if row.state == "done"]
    assert stopped
    # The first epoch says too little; the second one is enough.
    assert long.epochs == 3 * len(done) + 2 * len(stopped)


def test_the_test_split_is_read_for_the_best_one_alone(long: Swept) -> None:
    result = long.result
    assert result.best is not None
    assert long.reads == 1
    best = result.trial(result.best)
    assert result.test[0].value == pytest.approx(best.measures["accuracy"] - 0.01)


def test_the_best_recipe_builds_the_model_that_was_judged(long: Swept) -> None:
    home, result = long.home, long.result
    runs = len(trained(home))
    # A recipe of these stages; `edgekiln build --recipe` reads one of the real ones.
    table = tomllib.loads(Path(result.recipe).read_text())
    best = Recipe(data=table["data"], skip=("prune",), options={"distill": table["distill"]})
    request = planned(home).build_request(Candidate(model=str(home / "net.pt"), recipe=best))
    built = driver.build(request, Store(home / "store"), progress, CHAIN)
    assert len(trained(home)) == runs  # all of it was found
    assert built.steps[-1].score is not None
    assert built.steps[-1].score.value == result.test[0].value


def test_the_page_shows_every_trial_and_needs_no_network(long: Swept) -> None:
    result = long.result
    text = Path(result.page).read_text()
    done = sum(row.state == "done" for row in result.trials)
    assert text.count("<circle") == 2 * done  # in the history and over the only parameter
    assert "training diverged" in text
    assert "http" not in text


def test_how_much_a_parameter_explains_is_told(long: Swept) -> None:
    result = long.result
    assert result.importances == {"distill.rate": pytest.approx(1.0)}


def test_nothing_is_tried_twice_and_a_small_space_ends(tmp_path: Path) -> None:
    result = swept(tmp_path, params=GRID, trials=20)
    assert len(result.trials) == 6
    assert sorted(trained(tmp_path)) == sorted(set(trained(tmp_path)))
    assert len(trained(tmp_path)) == 6
    assert result.best is not None
    assert result.trial(result.best).options == {
        "distill.rate": "0.6",
        "distill.method": '"fancy"',
    }


def test_what_trials_share_is_made_once(tmp_path: Path) -> None:
    result = swept(tmp_path, params=("quantize.accuracy=0.1,0.2,0.3",))
    assert len(result.trials) == 3
    assert len(trained(tmp_path)) == 1


def test_the_same_command_goes_on_to_as_many_trials_and_no_further(tmp_path: Path) -> None:
    swept(tmp_path, trials=4)
    swept(tmp_path, trials=9)
    again = swept(tmp_path, trials=9)
    assert len(again.trials) == 9
    assert len(trained(tmp_path)) == 9


def test_a_study_that_goes_on_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    (tmp_path / "straight").mkdir()
    (tmp_path / "parts").mkdir()
    straight = swept(tmp_path / "straight", trials=8)
    swept(tmp_path / "parts", trials=4)
    assert rates(swept(tmp_path / "parts", trials=8)) == rates(straight)


def test_ctrl_c_leaves_a_study_that_goes_on_with_the_trial(tmp_path: Path) -> None:
    plan = planned(tmp_path, params=FEW, trials=3)

    def interrupt(_done: int, _total: int, text: str) -> None:
        if "trial 1" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(plan, Store(tmp_path / "store"), "", interrupt)
    result = sweep(plan, Store(tmp_path / "store"), "", silent)
    assert sorted(rates(result)) == [0.1, 0.2, 0.3]
    assert {row.state for row in result.trials} <= {"done", "stopped"}
    # The one that was interrupted came next.
    assert result.trials[1].number == 2


def test_a_worker_that_was_killed_leaves_its_trial_to_the_next(tmp_path: Path) -> None:
    plan = planned(tmp_path, params=FEW, trials=3)
    store = Store(tmp_path / "store")
    study = SharedStudy(plan, store)
    with study.claim() as claim:
        assert claim is not None
        # While it lives, nobody takes it from it.
        study.put_back_lost()
        assert [row.state for row in study.rows()] == ["running"]
    # It ended without a word.
    study.put_back_lost()
    assert study.rows() == ()
    study.close()
    result = sweep(plan, store, "", silent)
    assert sorted(rates(result)) == [0.1, 0.2, 0.3]
    assert rates(result)[0] == claim.values["distill.rate"]


def test_what_would_end_every_trial_ends_the_study_and_is_no_trials_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageError("the disk is full", "free some space")

    plan = planned(tmp_path, params=FEW, trials=3)
    with monkeypatch.context() as patch:
        patch.setattr("edgekiln.compiler.sweep.work.run_trial", full)
        with pytest.raises(StorageError, match="the disk is full"):
            sweep(plan, Store(tmp_path / "store"), "", silent)
    result = sweep(plan, Store(tmp_path / "store"), "", silent)
    assert [row.state for row in result.trials] == ["done"] * 3


def test_a_limit_keeps_better_trials_out(tmp_path: Path) -> None:
    result = swept(tmp_path, trials=16, where=("macs<=400",))
    assert result.best is not None
    best = result.trial(result.best)
    assert best.measures["macs"] <= 400
    assert any(
        row.measures["accuracy"] > best.measures["accuracy"]
        for row in result.trials
        if row.state == "done" and not row.holds
    )


def test_where_no_trial_is_within_the_limits_the_nearest_is_told(tmp_path: Path) -> None:
    expected = r"no trial has macs < 100: the nearest, trial \d, has macs 100"
    with pytest.raises(GateError, match=expected):
        swept(tmp_path, params=FEW, where=("macs<100",))
    assert not (tmp_path / "dist" / "net-best.toml").exists()
    assert "No trial is within the limits" in (tmp_path / "dist" / "net-sweep.html").read_text()
    assert reads_of_the_test_split(tmp_path) == 0


def test_where_every_trial_fails_the_first_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="none of 2 trials came to its end: training diverged"):
        swept(tmp_path, params=("distill.rate=0.95,0.99",))


def test_a_cost_may_be_the_objective(tmp_path: Path) -> None:
    result = swept(tmp_path, params=FEW, objectives=("macs",), where=("accuracy>70%",))
    assert result.best is not None
    assert result.trial(result.best).measures == {"macs": 200, "accuracy": pytest.approx(0.74)}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"params": ("distill.rate=0.1,0.2",)}, "another space: distill.rate"),
        ({"objectives": ("macs",)}, "another objective: accuracy"),
        ({"where": ("macs<500",)}, "another limits: none"),
    ],
)
def test_a_study_that_searches_for_something_else_is_refused(
    tmp_path: Path, changes: dict[str, object], what: str
) -> None:
    swept(tmp_path, params=FEW, trials=1)
    with pytest.raises(ConfigError, match=rf"study 'net' in journal:///.*study\.log has {what}"):
        swept(tmp_path, **{"params": FEW, **changes})


def test_resume_begins_no_study(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--resume: no study 'net' in journal"):
        swept(tmp_path, resume=True)
    assert not (tmp_path / "study.log").exists(), "an empty study would be found the next time"


def test_a_database_serves_as_a_storage_and_so_does_any_name(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    result = swept(tmp_path, storage=storage, study="a b", params=FEW)
    assert sorted(rates(result)) == [0.1, 0.2, 0.3]
    assert tomllib.loads(Path(result.recipe).read_text())["distill"]["rate"] == 0.3
