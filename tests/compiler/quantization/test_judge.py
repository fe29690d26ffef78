import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization.judge import Judge, QualityLimits, Verdict
from edgekiln.compiler.quantization.products import ModelWeights, products
from tests.compiler import skewed
from tests.compiler.quantization.schemes import Bench, bench


@pytest.fixture(scope="module")
def net() -> Bench:
    return bench(skewed.fitted())


@pytest.fixture(scope="module")
def judge(net: Bench) -> Judge:
    return Judge(net.model, net.feed, samples=0, scored=True)


def accuracy(net: Bench, model: onnx.ModelProto) -> float:
    session = Session(model, optimize=False)
    calls = net.feed.batches("val", batch=32)
    answers = np.concatenate([session(call)[0] for call in calls]).argmax(axis=1)
    (labels,) = net.feed.targets("val").values()
    return float((answers == labels).mean())


def test_what_is_lost_is_the_difference_of_the_accuracies(net: Bench, judge: Judge) -> None:
    quantized = net.scheme.quantized()
    weights = ModelWeights(quantized)
    head = products(quantized)[-1]
    codes = weights[head.codes].copy()
    codes[:3] = 0  # three classes are never told
    weights[head.codes] = codes
    verdict = judge.verdict(quantized)
    assert judge.samples == 100
    assert [score.value for score in verdict.scores] == [pytest.approx(accuracy(net, quantized))]
    lost = 100 * (accuracy(net, net.model) - accuracy(net, quantized))
    assert lost > 10
    assert verdict.lost["accuracy"] == pytest.approx(lost)
    # Of 100 answers with a third or so changed, the share is known to a few points.
    assert 1.0 < verdict.doubt["accuracy"] < 15.0


def test_the_float_model_loses_nothing_against_itself(net: Bench, judge: Judge) -> None:
    verdict = judge.verdict(net.model)
    assert (verdict.lost, verdict.doubt) == ({"accuracy": 0.0}, {"accuracy": 0.0})
    assert verdict.sqnr_db > 100


def test_doubt_counts_as_lost_where_one_must_be_sure() -> None:
    verdict = Verdict(
        sqnr_db=20.0, least_db=18.0, sure_db=16.5, lost={"a": 0.4, "b": 3.0},
        doubt={"a": 0.3, "b": 0.0},
    )  # fmt: skip

    def excess(surely: bool = False, min_sqnr_db: float | None = None, **lost: float) -> float:
        limits = QualityLimits(lost=lost, min_sqnr_db=min_sqnr_db)
        return verdict.excess(limits, surely=surely)

    assert excess(a=0.5) == pytest.approx(-0.1)
    assert excess(a=0.5, surely=True) == pytest.approx(0.2)
    assert excess(a=0.5, b=1.0) == pytest.approx(2.0)
    assert excess(min_sqnr_db=17.7) == pytest.approx(-0.3)
    assert excess(min_sqnr_db=17.7, surely=True) == pytest.approx(1.2)
    assert excess(a=0.5, min_sqnr_db=19.0) == pytest.approx(1.0)


def test_without_labels_there_is_the_signal_alone(net: Bench) -> None:
    blind = Judge(net.model, net.feed, samples=32, scored=False)
    verdict = blind.verdict(net.scheme.quantized())
    assert (verdict.scores, verdict.lost, verdict.doubt) == ((), {}, {})
    assert 10 < verdict.sqnr_db < 60
