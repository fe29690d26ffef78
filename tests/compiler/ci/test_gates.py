"""Gates: each kind of regression by the right one, with the right code; noise by none."""

import random
from dataclasses import fields, replace
from typing import Any

import pytest

from edgekiln.compiler.ci import gates
from edgekiln.compiler.ci.config import Gates
from edgekiln.compiler.ci.result import CiResult, Failure, GateVerdict, JobResult, exit_code
from edgekiln.compiler.packaging.report import Score
from tests.compiler.ci.results import DIGIT, INK, MACHINE, RMSE, bench, job, result, run
from tests.readme import ROOT


def judged(
    now: JobResult, before: CiResult | None = None, **demanded: Any
) -> dict[str, GateVerdict]:
    verdicts = gates.judge([(job(**demanded), now)], before, {})
    return {verdict.gate: verdict for verdict in verdicts}


@pytest.mark.parametrize(
    ("demanded", "gate", "changes", "code", "message"),
    [
        ({"min_accuracy": 0.91}, "min-accuracy", {}, 6, "90.00% < 91.00%"),
        ({"min_sqnr_db": 30}, "min-sqnr-db", {"sqnr_db": 29.95}, 6, "29.9 dB < 30.0 dB"),
        ({"max_latency_us": 99.5}, "max-latency-us", {}, 11, "100.0 µs > 99.5 µs"),
        ({"max_bytes": 299}, "max-bytes", {}, 11, "300 bytes > 299 bytes"),
        ({"max_arena_bytes": 999}, "max-arena-bytes", {}, 11, "1,000 bytes > 999 bytes"),
        ({"max_energy_uj": 4}, "max-energy-uj", {"joules": 5e-6}, 11, "5.0 µJ > 4.0 µJ"),
    ],
)
def test_a_limit_holds_up_to_it_and_not_beyond(
    demanded: dict[str, Any], gate: str, changes: dict[str, Any], code: int, message: str
) -> None:
    verdict = judged(result(**changes), **demanded)[gate]
    assert (verdict.status, verdict.exit_code, verdict.message) == ("fail", code, message)
    least = gate.startswith("min-")
    allowed = {key: value - 0.1 if least else value + 1 for key, value in demanded.items()}
    assert judged(result(**changes), **allowed)[gate].status == "pass"


def test_a_quantized_operator_that_stays_float_fails_unless_it_is_allowed() -> None:
    verdict = judged(result(quantized_float=1))["strict-int8"]
    assert (verdict.status, verdict.exit_code) == ("fail", 11)
    assert verdict.message == ("1 quantized operators stayed float: Erf 'gelu': no integer form")
    assert judged(result())["strict-int8"].status == "pass"
    assert judged(result(quantized_float=1), strict_int8=False) == {}


def test_a_limit_on_what_nobody_could_measure_fails_as_a_measurement() -> None:
    foreign = result(bench=None, unmeasured="this CPU lacks avx512_vnni")
    verdict = judged(foreign, max_latency_us=5)["max-latency-us"]
    assert (verdict.status, verdict.exit_code) == ("fail", 12)
    assert verdict.message == "cannot be judged: this CPU lacks avx512_vnni"
    skipped = judged(foreign, max_latency_us=5, if_unmeasured="skip")["max-latency-us"]
    assert skipped.status == "skip"
    unscored = judged(result(None, unscored="no data"), min_accuracy=0.5)["min-accuracy"]
    assert (unscored.exit_code, unscored.message) == (12, "cannot be judged: no data")
    assert judged(result(), max_energy_uj=5)["max-energy-uj"].exit_code == 12


def agreeing(sqnr_db: float) -> Score:
    return Score(
        value=sqnr_db,
        metric="sqnr_db",
        unit="dB",
        share=False,
        n=40,
        of=40,
        top1_agreement=0.9,
        cosine=0.99,
    )


def test_without_labels_the_agreement_is_held_and_no_accuracy() -> None:
    unlabelled = result(score=agreeing(34.2))
    verdict = judged(unlabelled, min_sqnr_db=34)["min-sqnr-db"]
    assert (verdict.status, verdict.message) == ("pass", "34.2 dB ≥ 34.0 dB")
    missed = judged(unlabelled, min_sqnr_db=35)["min-sqnr-db"]
    assert (missed.status, missed.exit_code) == ("fail", 6)
    accuracy = judged(unlabelled, min_accuracy=0.5)["min-accuracy"]
    assert accuracy.exit_code == 12
    assert "the data has no labels; min-sqnr-db" in accuracy.message
    before = run(result(score=agreeing(40.0)))
    drop = judged(unlabelled, before, max_accuracy_drop=1)["max-accuracy-drop"]
    assert (drop.status, drop.message) == ("skip", "not judged: the data has no labels")


def test_of_labelled_data_the_quantized_models_own_agreement_is_held() -> None:
    labelled = result(sqnr_db=28.0)
    assert judged(labelled, min_sqnr_db=27)["min-sqnr-db"].status == "pass"
    assert judged(labelled, min_sqnr_db=29)["min-sqnr-db"].exit_code == 6
    floats = result(precision="float32", score=agreeing(90.0))
    assert judged(floats, min_sqnr_db=80)["min-sqnr-db"].status == "pass"


def test_the_signal_is_judged_where_it_was_quantized() -> None:
    verdict = judged(result(), min_sqnr_db=20)["min-sqnr-db"]
    assert (verdict.status, verdict.exit_code) == ("fail", 12)
    assert verdict.message == "cannot be judged: the model was int8 before"
    floats = judged(result(precision="float32"), min_sqnr_db=20)["min-sqnr-db"]
    assert (floats.status, floats.message) == ("skip", "not judged: nothing is quantized")
    assert "min-sqnr-db" not in judged(result(precision="float32"))


def test_worse_weights_are_a_drop_in_accuracy() -> None:
    verdict = judged(result(0.88), run(result(0.9)), max_accuracy_drop=1.5)["max-accuracy-drop"]
    assert (verdict.status, verdict.exit_code) == ("fail", 6)
    assert verdict.message.startswith("lost 2.00 points: 90.00% → 88.00% (n = 400)")
    assert judged(result(0.88), run(result(0.9)), max_accuracy_drop=2.01)[
        "max-accuracy-drop"
    ].status == "pass"  # fmt: skip


def two_heads(accuracy: float, error_mm: float) -> JobResult:
    digit, ink = replace(DIGIT, value=accuracy), replace(INK, value=error_mm)
    return result(score=digit, further=(ink,))


def test_every_metric_is_held_in_its_own_direction() -> None:
    now = two_heads(0.9, 0.2)
    fine = judged(now, metrics={"digit": 0.9, "RMSE": 0.2})
    assert fine["metrics.digit"].message == "90.00% ≥ 90.00%"
    assert fine["metrics.RMSE"].message == "0.2 mm ≤ 0.2 mm"
    assert {verdict.status for verdict in fine.values()} == {"pass"}
    worse = judged(now, metrics={"digit accuracy": 0.95, "ink": 0.1})
    assert worse["metrics.digit accuracy"].message == "90.00% < 95.00%"
    assert worse["metrics.ink"].message == "0.2 mm > 0.1 mm"
    assert worse["metrics.ink"].exit_code == 6
    missing = judged(now, metrics={"mAP": 0.5})["metrics.mAP"]
    assert missing.exit_code == 12
    assert missing.message == "cannot be judged: it has digit accuracy, ink RMSE, and no mAP"


def test_a_regression_has_no_accuracy_to_be_held() -> None:
    verdict = judged(result(score=RMSE), min_accuracy=0.5)["min-accuracy"]
    assert verdict.exit_code == 12
    assert verdict.message == (
        "cannot be judged: the metric is RMSE, mm ↓: hold it by metrics.RMSE"
    )


def test_every_head_is_held_against_the_baseline() -> None:
    before = run(two_heads(0.9, 0.2))
    found = judged(two_heads(0.89, 0.3), before, max_accuracy_drop=5)
    assert found["max-accuracy-drop.digit accuracy"].status == "pass"
    lost = found["max-accuracy-drop.ink RMSE"]
    assert lost.message == "lost 50.00 %: 0.2 mm → 0.3 mm (n = 400), allowed +5 %"
    assert lost.exit_code == 6
    single = judged(two_heads(0.8, 0.3), before, max_accuracy_drop=20, max_metric_drops={"ink": 60})
    assert {name: verdict.status for name, verdict in single.items() if "drop" in name} == {
        "max-accuracy-drop.digit accuracy": "pass",
        "max-metric-drops.ink": "pass",
    }
    other = judged(result(score=RMSE), run(result()), max_accuracy_drop=1)["max-accuracy-drop"]
    assert other.message == ("not judged: RMSE of 400 samples, was accuracy of 400 samples")


def test_a_drop_of_what_is_not_measured_fails_as_a_measurement() -> None:
    """Neither a misspelt name nor a run that measured nothing is one that lost nothing."""
    before = run(two_heads(0.9, 0.2))
    found = judged(two_heads(0.5, 0.9), before, max_metric_drops={"digitt": 1, "ink": 900})
    misspelt = found["max-metric-drops.digitt"]
    assert (misspelt.status, misspelt.exit_code) == ("fail", 12)
    assert misspelt.message == ("cannot be judged: it has digit accuracy, ink RMSE, and no digitt")
    assert found["max-metric-drops.ink"].status == "pass"
    blind = judged(result(None, unscored="no data"), run(result()), max_accuracy_drop=1)
    assert blind["max-accuracy-drop"].exit_code == 12
    leave = {"max_accuracy_drop": 1, "max_metric_drops": {"x": 1}, "if_unmeasured": "skip"}
    skipped = judged(result(None, unscored="no data"), run(result()), **leave)
    assert {each.status for name, each in skipped.items() if "drop" in name} == {"skip"}


def test_scores_on_other_samples_are_not_compared() -> None:
    before = result()
    assert before.build is not None
    (step,) = before.build.steps
    assert step.score is not None
    fewer = replace(step, score=replace(step.score, n=100))
    before = replace(before, build=replace(before.build, steps=(fewer,)))
    verdict = judged(result(0.5), run(before), max_accuracy_drop=1)["max-accuracy-drop"]
    assert verdict.status == "skip"
    assert "accuracy of 400 samples, was accuracy of 100 samples" in verdict.message


def test_a_real_slowdown_fails() -> None:
    slow = result(bench=bench((120, 121, 119, 120, 122)))
    verdict = judged(slow, run(result()), max_slowdown=5)["max-slowdown"]
    assert (verdict.status, verdict.exit_code) == ("fail", 11)
    assert verdict.message == "100.0 µs → 120.0 µs (+20.0%, noise ±2.5%), allowed +5%"


def test_a_slowdown_inside_the_noise_is_none_and_says_so() -> None:
    restless = result(bench=bench((108, 96, 131, 99, 125)))
    verdict = judged(restless, run(result()), max_slowdown=5)["max-slowdown"]
    assert verdict.status == "noise"
    assert verdict.message.startswith("inside the noise, no regression: 100.0 µs → 108.0 µs")


@pytest.mark.parametrize("noise", [0.01, 0.05, 0.2])
def test_repeating_alone_raises_no_gate(noise: float) -> None:
    """Trials of one unchanged program, 20 repeats: a random part each, and a drift a run."""
    draw = random.Random(f"noise {noise}")

    def measured() -> JobResult:
        drift = 1 + draw.gauss(0, noise / 4)
        return result(
            bench=bench([100 * drift * (1 + abs(draw.gauss(0, noise))) for _ in range(5)])
        )

    before = run(measured())
    for _ in range(20):
        assert not judged(measured(), before, max_slowdown=5)["max-slowdown"].failed


def test_latencies_of_two_machines_are_not_compared() -> None:
    moved = replace(bench((10,) * 5), machine=replace(MACHINE, cpu="Faster CPU"))
    verdict = judged(result(), run(result(bench=moved)), max_slowdown=5)["max-slowdown"]
    assert verdict.status == "skip"
    assert "measured on Faster CPU (2 cores), this is Test CPU (2 cores)" in verdict.message


def test_a_new_job_has_nothing_to_be_compared_with() -> None:
    assert "max-slowdown" not in judged(result(), None, max_slowdown=5)
    found = judged(result(), run(), max_slowdown=5, max_accuracy_drop=1)
    assert {found["max-slowdown"].message, found["max-accuracy-drop"].message} == {
        "not judged: not in the baseline"
    }


def test_a_broken_job_decides_the_exit_code_before_a_gate() -> None:
    broken = result(failure=Failure(doing="check", message="", hint="", exit_code=7))
    failed = tuple(judged(result(0.1), min_accuracy=0.9).values())
    assert exit_code(run(result(), broken, verdicts=failed)) == 7
    assert exit_code(run(result(), verdicts=failed)) == 6
    assert exit_code(run(result())) == 0


def test_every_gate_has_its_row_in_the_guide() -> None:
    guide = (ROOT / "docs/howto/ci.md").read_text(encoding="utf-8")
    names = {field.name.replace("_", "-") for field in fields(Gates)}
    names -= {"if-unmeasured"}  # what becomes of gates, and none itself
    assert {name for name in names if f"| `{name}` |" not in guide} == set()
