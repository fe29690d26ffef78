"""The accuracy gate, and what is known of an artifact without running it."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgekiln.compiler.build.result import Step
from edgekiln.compiler.build.scoring import check_drop, costs, doubt, drop_left
from edgekiln.compiler.evaluation.report import Costs
from edgekiln.compiler.packaging.report import Score
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.runtime.errors import AccuracyError, ConfigError


def test_small_losses_add_up() -> None:
    steps = [step("distill", 0.90), step("prune", 0.89), step("export", 0.88)]
    check_drop(steps[:2], steps[1], {"": 1.5})
    with pytest.raises(AccuracyError, match=r"export lost 2\.00 points .* 90\.00% after distill"):
        check_drop(steps, steps[2], {"": 1.5})


def test_the_other_targets_scores_do_not_count() -> None:
    steps = [step("quantize", 0.8), step("compile", 0.9, "a"), step("compile", 0.8, "b")]
    check_drop(steps, steps[2], {"": 1.0})


def step(stage: str, accuracy: float, target: str = "", metric: str = "accuracy") -> Step:
    unit = "%" if metric == "accuracy" else ""
    score = Score(value=accuracy, metric=metric, unit=unit, n=400, of=400)
    return Step(stage=stage, target=target, sha256="", file_bytes=0, score=score)


def test_an_autoencoders_auc_is_held_to_the_same() -> None:
    steps = [step("distill", 0.90, metric="auc"), step("prune", 0.80, metric="auc")]
    with pytest.raises(AccuracyError, match=r"prune lost 10\.00 points of auc: 0\.9000 after"):
        check_drop(steps, steps[1], {"": 5.0})


RMSE = Score(value=2.0, metric="RMSE", better="lower", share=False, n=400, of=400)


def heads(stage: str, accuracy: float, error: float) -> Step:
    digit = Score(value=accuracy, metric="accuracy", unit="%", n=400, of=400, head="digit")
    ink = replace(RMSE, value=error, head="ink")
    return Step(stage=stage, sha256="", file_bytes=0, score=digit, further_scores=(ink,))


def test_an_error_that_grows_is_a_loss_in_percent() -> None:
    steps = [
        Step(stage=name, sha256="", file_bytes=0, score=replace(RMSE, value=value))
        for name, value in (("distill", 2.0), ("prune", 2.3))
    ]
    check_drop(steps, steps[1], {"": 15.1})
    with pytest.raises(AccuracyError) as caught:
        check_drop(steps, steps[1], {"RMSE": 10})
    assert caught.value.message == (
        "prune lost 15.00 % of RMSE: 2 after distill, 2.3 now (n = 400; --max-drop 10)"
    )


def test_every_head_has_a_limit_of_its_own() -> None:
    steps = [heads("distill", 0.9, 2.0), heads("prune", 0.88, 2.3)]
    check_drop(steps, steps[1], {"digit": 2.5, "ink": 20})
    with pytest.raises(AccuracyError, match=r"prune lost 15\.00 % of ink RMSE"):
        check_drop(steps, steps[1], {"": 5})
    check_drop(steps, steps[1], {"": 5, "ink": 20})
    with pytest.raises(AccuracyError, match=r"of digit accuracy: .* --max-drop digit=1\)"):
        check_drop(steps, steps[1], {"digit": 1})
    with pytest.raises(ConfigError) as error:
        check_drop(steps, steps[1], {"inc": 1})
    assert (error.value.message, error.value.hint) == (
        "--max-drop inc: no task or metric has this name",
        "did you mean ink?",
    )


def test_without_a_score_there_is_nothing_to_lose() -> None:
    unscored = Step(stage="compile", sha256="", file_bytes=0, unscored="another machine")
    check_drop([step("quantize", 0.9), unscored], unscored, {"": 0.0})


def test_a_program_for_another_machine_has_its_costs_from_the_compiler() -> None:
    lib = Artifact(
        path=Path("nowhere.lib"),
        kind="lib",
        sha256="",
        key="",
        chain=(),
        metrics={"macs": 9.0, "code_bytes": 30.0, "weights_bytes": 12.0},
    )
    assert costs(lib) == Costs(parameters=None, macs=9, file_bytes=42)


def test_a_trained_model_that_guesses_is_doubted() -> None:
    guess = Score(value=0.11, metric="accuracy", unit="%", n=400, of=400)
    assert doubt(guess, "digits", 0).startswith("11.00% is what guessing one of 10 classes gives")
    assert doubt(Score(value=0.5, metric="accuracy", unit="%", n=400, of=400), "digits", 0) == ""
    assert doubt(Score(value=0.1, metric="auc", n=400, of=400), "hum", 0) == ""
    assert doubt(None, "digits", 0) == ""


def test_who_takes_indices_is_not_told_to_scale_them(tmp_path: Path) -> None:
    rows = (f"{n},{n % 7},{'yes' if n % 2 else 'no'}" for n in range(60))
    path = tmp_path / "people.csv"
    path.write_text("\n".join(["age,user,y", *rows]), encoding="utf-8")
    guess = Score(value=0.5, metric="accuracy", unit="%", n=40, of=40)
    word = doubt(guess, f"{path}?target=y&buckets=age:18&hash=user:9", 0)
    assert word.endswith("other indices: the buckets, hashes or tokens that it was trained with")
    assert "scale=1" in doubt(guess, f"{path}?target=y", 0)


def test_what_earlier_stages_lost_is_not_lost_again() -> None:
    steps = [step("distill", 0.90), step("prune", 0.895), step("export", 0.895)]
    assert drop_left(steps, {"": 2.0}) == ("accuracy=1.5",)
    assert drop_left(steps, {"": 0.25}) == ("accuracy=0",)
    assert drop_left([], {"": 2.0, "digit": 1.0}) == ("2", "digit=1")
    two = [heads("distill", 0.9, 2.0), heads("prune", 0.91, 2.1)]
    assert drop_left(two, {"": 3.0, "ink": 8.0}) == ("digit accuracy=3", "ink RMSE=3")
