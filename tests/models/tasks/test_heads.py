"""Tasks by their names, several of them, and a user's own."""

import numpy as np
import pytest

from edgekiln.models.tasks import LearningTask, Metric, heads_of
from edgekiln.models.tasks.heads import TASKS, references_in
from edgekiln.models.tasks.regression import Regression
from edgekiln.runtime.errors import ConfigError, InputError

OWN = """
from dataclasses import dataclass
from edgekiln.models.tasks import LearningTask, Metric

@dataclass(frozen=True, kw_only=True)
class Pinball(LearningTask):
    quantile: float = 0.5

    @property
    def metrics(self):
        return (Metric(name="pinball", better="lower"),)

    def loss(self, outputs, target, inputs):
        gap = target - outputs[0]
        return (self.quantile * gap).maximum((self.quantile - 1) * gap).mean()

    def measure(self, answers, targets):
        return (float(abs(answers - targets).mean()),)

def broken():
    raise ValueError("no")

def nothing():
    return 3
"""


def test_options_stand_behind_the_name():
    (head,) = heads_of("regression?metric=mae&unit=kWh&loss-by=huber")
    assert head.task == Regression(metric="mae", unit="kWh", loss_by="huber")
    assert head.task.metrics[0].heading == "MAE, kWh ↓"


def test_several_heads_have_names_and_weights():
    digit, ink = heads_of("digit=classification, ink=regression?weight=0.5&metric=r2")
    assert (digit.name, digit.weight, ink.name, ink.weight) == ("digit", 1.0, "ink", 0.5)
    assert ink.task == Regression(metric="r2")


def test_a_task_of_ones_own_is_called(tmp_path, monkeypatch):
    (tmp_path / "own_pinball.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    (head,) = heads_of("own_pinball:Pinball?quantile=0.9")
    assert isinstance(head.task, LearningTask)
    assert head.task.metrics[0].name == "pinball"
    assert references_in("a=own_pinball:Pinball?quantile=1,b=regression") == (
        "own_pinball:Pinball",
    )
    with pytest.raises(InputError, match="own_pinball:broken: raised ValueError: no"):
        heads_of("own_pinball:broken")
    with pytest.raises(InputError, match="gave int, which is no task") as caught:
        heads_of("own_pinball:nothing")
    assert "derived from edgekiln.models.tasks.LearningTask" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("regresion", "no task named 'regresion'", "did you mean regression?"),
        ("regression?metrik=mae", "task regression: no option 'metrik'", "did you mean metric?"),
        (
            "regression?metric=mape",
            "task regression: metric must be one of rmse, mae, r2, found 'mape'",
            "",
        ),
        (
            "a=regression,classification",
            "task 'classification': which of the heads?",
            "name each of several: --task digit=classification,ink=regression",
        ),
        ("a=regression,a=embedding", "task: head 'a' is named twice", "keep one of the two"),
        ("a=regression?weight=0", "task regression?weight=0: weight = 0", "give a positive number"),
    ],
)
def test_what_is_no_task_is_refused_with_the_next_step(text, message, hint):
    with pytest.raises(ConfigError) as caught:
        heads_of(text)
    assert caught.value.message == message
    assert caught.value.hint.startswith(hint)


BAD_TARGETS = {
    "classification": np.array([0.5, 1.5]),
    "detection": np.zeros((3, 5)),
    "embedding": np.array([-1, 0]),
    "language-modelling": np.array([[0, -3]]),
    "multi-label": np.array([[0, 2]]),
    "recommendation": np.array([1, 5]),
    "reconstruction": np.array([[1, 0]]),
    "regression": np.array([1.0, np.nan]),
    "segmentation": np.zeros((2, 3)),
    "sequence-labelling": np.array([0, 1]),
}


@pytest.mark.parametrize("name", TASKS)
def test_targets_of_another_form_are_refused(name):
    with pytest.raises(InputError) as caught:
        heads_of(name)[0].task.checked("table.csv", BAD_TARGETS[name])
    assert caught.value.message.startswith("table.csv: ")
    assert caught.value.hint


def test_a_loss_is_counted_in_points_of_a_share_and_else_in_percent():
    accuracy = Metric(name="accuracy", unit="%", share=True)
    rmse = Metric(name="RMSE", better="lower")
    assert accuracy.lost(0.9, 0.88) == pytest.approx(2.0)
    # What may just be lost is no more than that: floats say 0.5000000000000004.
    assert accuracy.lost(394 / 400, 392 / 400) == 0.5
    assert rmse.lost(2.0, 2.5) == pytest.approx(25.0)
    assert rmse.lost(2.0, 1.0) == pytest.approx(-50.0)
    assert rmse.lost(0.0, 0.1) == float("inf")
    assert Metric(name="R²").lost(-1.0, -1.5) == pytest.approx(50.0)
    assert (accuracy.shown(0.9), rmse.shown(12345.678)) == ("90.00%", "12,345.7")
