"""What differs between two runs, and whether it means anything."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgekiln.compiler.ci.compare import Difference, compare
from edgekiln.compiler.ci.result import JobResult, text_of
from edgekiln.compiler.packaging.report import Score
from edgekiln.runtime.codec import encode
from edgekiln.runtime.errors import ConfigError, InputError
from tests.compiler.ci.results import DIGIT, INK, bench, result, run, write_bundle


def differences(tmp_path: Path, before: JobResult, after: JobResult) -> dict[str, Difference]:
    for name, job in (("a", before), ("b", after)):
        (tmp_path / f"{name}.json").write_text(text_of(run(job)))
    found = compare(tmp_path / "a.json", tmp_path / "b.json").differences
    return {difference.quantity: difference for difference in found}


def test_equal_results_differ_in_latency_at_most(tmp_path: Path) -> None:
    found = differences(tmp_path, result(), result(bench=bench((101, 100, 102, 99, 101))))
    assert list(found) == ["latency, s"]
    assert not found["latency, s"].significant
    assert found["latency, s"].why == "noise of both: ±3.0%"


def test_a_latency_beyond_the_noise_is_significant(tmp_path: Path) -> None:
    latency = differences(tmp_path, result(), result(bench=bench((50,) * 5)))["latency, s"]
    assert latency.significant
    assert latency.relative == pytest.approx(-0.5)


def test_an_accuracy_is_judged_by_the_number_of_samples(tmp_path: Path) -> None:
    small = differences(tmp_path, result(0.90), result(0.91))["accuracy"]
    assert not small.significant
    assert small.why == "n = 400: ±4.06 points at 95 %"
    assert differences(tmp_path, result(0.90), result(0.80))["accuracy"].significant


def test_the_same_share_of_other_samples_is_another_score(tmp_path: Path) -> None:
    emulated = Score(value=0.90, metric="accuracy", unit="%", n=159, of=400)
    found = differences(tmp_path, result(0.90), result(score=emulated))["score"]
    assert (found.before, found.after) == ("accuracy 90.00% (n = 400)", "accuracy 90.00% (n = 159)")


def test_sizes_are_exact(tmp_path: Path) -> None:
    arena = differences(tmp_path, result(), result(arena=1500))["arena, bytes"]
    assert (arena.before, arena.after, arena.relative) == (1000, 1500, 0.5)
    assert arena.significant is None


def test_a_job_of_one_run_alone_is_named(tmp_path: Path) -> None:
    found = differences(tmp_path, result(), replace(result(), id="new"))
    assert (found["job"].subject, found["job"].before, found["job"].after) == (
        "new", None, "there",
    )  # fmt: skip


def test_a_bundle_is_not_compared_with_results(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="are not of one kind"):
        compare(tmp_path / "a.ekb", tmp_path / "results.json")
    with pytest.raises(InputError, match=r"gone\.json: No such file"):
        compare(tmp_path / "gone.json", tmp_path / "gone.json")
    (tmp_path / "old.json").write_text('{"schema": "edgekiln.ci/0"}')
    with pytest.raises(InputError, match="this EdgeKiln reads"):
        compare(tmp_path / "old.json", tmp_path / "old.json")


def test_each_head_is_compared_by_its_own_metric(tmp_path: Path) -> None:
    before = result(score=DIGIT, further=(INK,))
    after = result(score=DIGIT, further=(replace(INK, value=0.3),))
    found = differences(tmp_path, before, after)
    assert list(found) == ["ink RMSE", "latency, s"]
    difference = found["ink RMSE"]
    assert (difference.quantity, difference.better) == ("ink RMSE", "lower")
    assert difference.relative == pytest.approx(0.5)
    gone = differences(tmp_path, before, result(score=DIGIT))["score"]
    assert (gone.before, gone.after) == ("ink RMSE 0.2 mm (n = 400)", None)


def test_the_scores_of_bundles_are_compared_as_builds_write_them(tmp_path: Path) -> None:
    paths = []
    for accuracy in (0.90, 0.80):
        build = result(accuracy).build
        assert build is not None
        paths.append(tmp_path / f"{accuracy}.ekb")
        write_bundle(paths[-1], report={"steps": encode([step.lasting() for step in build.steps])})
    found = {each.quantity: each for each in compare(*paths).differences}
    assert (found["accuracy"].before, found["accuracy"].after) == (0.90, 0.80)
    assert found["accuracy"].significant
