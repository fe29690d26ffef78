import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgekiln.compiler.training.augment import Augment
from edgekiln.compiler.training.classroom import Teaching
from edgekiln.compiler.training.fit import fit
from edgekiln.compiler.training.imitation import Imitation, Ramp
from edgekiln.compiler.training.loss import Objective
from edgekiln.compiler.training.options import FitOptions
from edgekiln.compiler.training.result import FitResult
from edgekiln.compiler.training.score import SplitScore
from edgekiln.models.data.dataset import Dataset, Split
from edgekiln.models.tasks.heads import heads_of
from edgekiln.models.tasks.tally import Measured
from edgekiln.runtime.errors import InputError, TrainingError
from tests.compiler.training.conftest import tiny

OPTIONS = FitOptions(epochs=4, batch_size=32, learning_rate=0.01, ema=0.9, augment=Augment(shift=1))


class KilledError(Exception):
    pass


def train(module: nn.Module, data: Dataset, path: Path, options: FitOptions = OPTIONS) -> FitResult:
    return fit(module, data, Objective(), options, checkpoint_path=path)


def assert_same_bits(one: nn.Module, other: nn.Module) -> None:
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_it_learns(data, tmp_path):
    result = train(tiny(), data, tmp_path / "c.pt")
    assert result.score.value > 0.9


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_killed_training_resumed_ends_in_the_same_bits(data, tmp_path, optimizer):
    options = FitOptions(
        epochs=4, batch_size=32, learning_rate=0.01, optimizer=optimizer, augment=Augment(shift=1)
    )
    straight = tiny()
    train(straight, data, tmp_path / "straight.pt", options)

    def die_in_epoch_3(_done: int, _total: int, text: str) -> None:
        if text.startswith("epoch 3/4"):
            raise KilledError

    killed, path = tiny(), tmp_path / "killed.pt"
    with pytest.raises(KilledError):
        fit(killed, data, Objective(), options, checkpoint_path=path, advance=die_in_epoch_3)
    torch.manual_seed(99)  # another process has other generators
    resumed = tiny(seed=5)
    train(resumed, data, path, options)
    assert_same_bits(straight, resumed)


def test_who_watches_is_told_of_each_epoch_and_may_end_the_training(data, tmp_path):
    seen: list[tuple[int, float]] = []
    path = tmp_path / "watched.pt"

    def stop_at_2(epoch: int, value: float) -> None:
        seen.append((epoch, value))
        if epoch == 2:
            raise KilledError

    with pytest.raises(KilledError):
        fit(tiny(), data, Objective(), OPTIONS, checkpoint_path=path, on_epoch=stop_at_2)
    # The epoch that was the last is not lost: whoever goes on begins behind it.
    resumed = fit(
        tiny(), data, Objective(), OPTIONS, checkpoint_path=path, on_epoch=lambda *e: seen.append(e)
    )
    assert [epoch for epoch, _ in seen] == [1, 2, 3, 4]
    assert max(value for _, value in seen) == resumed.score.value


def test_a_finished_training_is_not_repeated(data, tmp_path):
    first, second = tiny(), tiny(seed=3)
    train(first, data, tmp_path / "c.pt")
    steps: list[str] = []
    fit(
        second,
        data,
        Objective(),
        OPTIONS,
        checkpoint_path=tmp_path / "c.pt",
        advance=lambda _done, _total, text: steps.append(text),
    )
    assert steps == []
    assert_same_bits(first, second)


def test_the_callers_generators_and_settings_are_left_alone(data, tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    train(tiny_without_seed(), data, tmp_path / "c.pt")
    assert torch.equal(torch.rand(1), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def tiny_without_seed() -> nn.Module:
    state = torch.get_rng_state()
    module = tiny()
    torch.set_rng_state(state)
    return module


def test_the_best_epoch_by_validation_is_kept(data, tmp_path):
    seen: list[float] = []

    def remember(_done: int, _total: int, text: str) -> None:
        if "val" in text:
            seen.append(float(text.split("val ")[1].split(maxsplit=1)[0]))

    result = fit(
        tiny(), data, Objective(), OPTIONS, checkpoint_path=tmp_path / "c.pt", advance=remember
    )
    assert round(100 * result.score.value, 1) == max(seen)


def test_training_stops_when_it_no_longer_helps(data, tmp_path):
    options = FitOptions(epochs=50, batch_size=32, learning_rate=1e-9, patience=2, ema=0)
    result = train(tiny(), data, tmp_path / "c.pt", options)
    assert result.epochs == 2


def test_weights_that_training_makes_worse_are_kept_as_they_were(data, tmp_path):
    module = tiny()
    before = train(module, data, tmp_path / "good.pt").score
    good = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    ruinous = FitOptions(epochs=2, batch_size=32, optimizer="sgd", learning_rate=30.0, clip=100.0)
    result = train(module, data, tmp_path / "ruin.pt", ruinous)
    assert (result.best_epoch, result.start, result.score) == (0, before, before)
    assert all(torch.equal(tensor, good[name]) for name, tensor in module.state_dict().items())


def test_a_resumed_training_remembers_where_it_began(data, tmp_path):
    result = train(tiny(), data, tmp_path / "c.pt")
    again = train(tiny(seed=3), data, tmp_path / "c.pt")
    assert again.start == result.start
    assert result.start.value < result.score.value


def test_divergence_names_epoch_step_and_learning_rate(data, tmp_path):
    module = tiny()
    with torch.no_grad():
        module[0].weight[0, 0, 0, 0] = math.nan
    with pytest.raises(TrainingError) as caught:
        train(module, data, tmp_path / "c.pt")
    assert caught.value.message == (
        "training diverged: loss is nan at epoch 1, step 1, learning rate 0.00167"
    )
    assert caught.value.hint == "lower --learning-rate, e.g. to 0.001, or raise --warmup-epochs"
    assert caught.value.exit_code == 10
    assert not (tmp_path / "c.pt").exists()


def test_a_damaged_checkpoint_is_named(data, tmp_path):
    path = tmp_path / "c.pt"
    path.write_bytes(b"half a file")
    with pytest.raises(InputError) as caught:
        train(tiny(), data, path)
    assert caught.value.message == f"{path}: not a readable checkpoint"
    assert caught.value.hint == "delete it to start over"


def test_a_teacher_teaches_more_than_random_labels(data, tmp_path):
    teacher, student = tiny(width=16), tiny(seed=1)
    train(teacher, data, tmp_path / "teacher.pt")
    result = fit(
        student,
        data,
        Objective(imitation=Imitation(alpha=Ramp(start=1.0))),
        OPTIONS,
        checkpoint_path=tmp_path / "student.pt",
        teaching=Teaching(networks=(teacher,)),
    )
    assert result.score.value > 0.9


def test_reconstruction_lowers_the_error(data, tmp_path):
    torch.manual_seed(0)
    module = nn.Conv2d(1, 1, 3, padding=1)
    objective = Objective(task="reconstruction")
    options = FitOptions(epochs=6, batch_size=16, learning_rate=0.1)
    result = fit(module, data, objective, options, checkpoint_path=tmp_path / "c.pt")
    assert result.score.measured == ()
    assert result.score.loss < 0.02  # the variance of the pixels is 0.03


def test_bf16_is_chosen_only_when_it_is_asked_for(data, tmp_path):
    options = FitOptions(epochs=1, batch_size=32, precision="auto")
    assert train(tiny(), data, tmp_path / "auto.pt", options).precision in ("float32", "bf16")
    assert train(tiny(), data, tmp_path / "plain.pt").precision == "float32"


def test_curves_are_written_for_tensorboard(data, tmp_path):
    fit(
        tiny(),
        data,
        Objective(),
        FitOptions(epochs=1, batch_size=32),
        checkpoint_path=tmp_path / "c.pt",
        logs=tmp_path / "logs",
    )
    assert next((tmp_path / "logs").iterdir()).name.startswith("events.out.tfevents")


def test_a_score_comes_back_from_a_checkpoint_as_it_was():
    heads = heads_of("a=reconstruction,b=recommendation,c=regression")
    auc, _ = heads[1].task.metrics
    score = SplitScore(
        0.5,
        (
            Measured(head="b", metric=auc, value=0.75),
            Measured(head="c", metric=heads[2].task.metrics[0], value=2.0),
        ),
    )
    assert SplitScore.of_numbers(score.numbers(), heads) == score
    assert score.value == -0.5  # of several tasks the loss decides
    assert replace(score, measured=score.measured[1:]).value == -2.0  # lower is better
    assert str(score) == "b auc 0.7500, c RMSE 2"


def test_a_regression_keeps_the_epoch_with_the_lowest_error(tmp_path):
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    x = draw.normal(size=(300, 4)).astype(np.float32)
    y = (x @ np.array([[1.0], [-2], [0.5], [3]], np.float32)).astype(np.float32)
    parts = {
        name: Split.of(x=x[part], y=y[part])
        for name, part in (
            ("train", slice(0, 200)), ("val", slice(200, 240)), ("calib", slice(240, 260)),
            ("test", slice(260, 300)),
        )
    }  # fmt: skip
    data = Dataset(name="plane", classes=(), task="regression", preprocessing=None, **parts)
    options = FitOptions(epochs=15, batch_size=16, learning_rate=0.1)
    objective = Objective(task="regression")
    result = fit(nn.Linear(4, 1), data, objective, options, checkpoint_path=tmp_path / "c.pt")
    assert result.score.metrics("val").keys() == {"val_loss", "val_rmse"}
    assert -result.score.value < 0.2 < -result.start.value
    assert result.start.is_worse_than(result.score, 0.05)
    assert not result.score.is_worse_than(result.start, 0.05)
