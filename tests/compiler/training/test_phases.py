"""Trainings whose epochs differ: phases, courses of the learning rate, blended samples."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from edgekiln.compiler.training.augment import Augment
from edgekiln.compiler.training.fit import fit
from edgekiln.compiler.training.loss import Objective
from edgekiln.compiler.training.options import FitOptions, FitPhase
from edgekiln.models.data.dataset import Split
from edgekiln.runtime.errors import ConfigError
from tests.compiler.training.conftest import tiny
from tests.compiler.training.test_fit import OPTIONS, KilledError, assert_same_bits, train

PHASES = (
    FitPhase(epochs=2, augment=Augment(shift=1), resolution=6),
    FitPhase(epochs=2, augment=Augment(shift=2, cutout=2, mixup=0.2), learning_rate=0.005),
)
PHASED = replace(OPTIONS, phases=PHASES, optimizer="sgd", patience=0)


@pytest.mark.parametrize(("epoch", "step"), [(2, 3), (3, 0), (3, 3), (4, 1)])
def test_a_training_in_phases_killed_anywhere_ends_in_the_same_bits(data, tmp_path, epoch, step):
    pooled = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 4),
    )
    begin = {name: tensor.clone() for name, tensor in pooled.state_dict().items()}
    straight = copy.deepcopy(pooled)
    train(straight, data, tmp_path / "straight.pt", PHASED)

    def die(done: int, total: int, text: str) -> None:
        if text.startswith(f"epoch {epoch}/4") and done >= (epoch - 1) * total // 4 + step:
            raise KilledError

    path = tmp_path / "killed.pt"
    killed = copy.deepcopy(pooled)
    with pytest.raises(KilledError):
        fit(killed, data, Objective(), PHASED, checkpoint_path=path, advance=die)
    resumed = copy.deepcopy(pooled)
    resumed.load_state_dict(begin)
    train(resumed, data, path, PHASED)
    assert_same_bits(straight, resumed)


def test_a_phase_with_a_rate_of_its_own_begins_the_rise_and_fall_anew():
    phases = (
        FitPhase(epochs=3),
        FitPhase(epochs=2, learning_rate=0.1),
        FitPhase(epochs=1),
    )
    options = FitOptions(epochs=6, learning_rate=0.5, phases=phases)
    courses = [options.course_at(epoch) for epoch in range(6)]
    assert [course.peak for course in courses] == [0.5, 0.5, 0.5, 0.1, 0.1, 0.1]
    assert [course.start for course in courses] == [0, 0, 0, 3, 3, 3]
    assert courses[-1].epochs == 3, "a phase without one belongs to the course before"
    assert [options.phase_at(epoch) for epoch in range(6)] == [
        phases[0], phases[0], phases[0], phases[1], phases[1], phases[2]
    ]  # fmt: skip


@pytest.mark.parametrize("schedule", ["one-cycle", "linear", "constant", "plateau"])
def test_it_learns_by_every_schedule(data, tmp_path, schedule):
    result = train(tiny(), data, tmp_path / "c.pt", replace(OPTIONS, schedule=schedule))
    assert result.score.value > 0.9


def test_the_network_comes_back_in_the_usual_order_of_memory(data, tmp_path):
    module = tiny(width=16)
    train(module, data, tmp_path / "c.pt", replace(OPTIONS, epochs=1))
    orders = {tensor.is_contiguous() for tensor in module.state_dict().values()}
    assert orders == {True}


def test_blended_samples_teach(data, tmp_path):
    options = replace(OPTIONS, epochs=6, augment=Augment(mixup=0.2, cutmix=1.0))
    assert train(tiny(), data, tmp_path / "c.pt", options).score.value > 0.9


def test_a_network_that_takes_no_smaller_images_is_refused_before_an_hour_is_spent(data, tmp_path):
    options = replace(OPTIONS, phases=(FitPhase(epochs=4, resolution=6),))
    with pytest.raises(ConfigError, match="resolution = 6: the network takes no images"):
        train(tiny(), data, tmp_path / "c.pt", options)


def test_a_resolution_of_what_has_none_is_refused(data, tmp_path):
    vectors = Split.of(x=np.zeros((8, 5), np.float32), y=np.arange(8, dtype=np.int64) % 4)
    flat = replace(data, preprocessing=None, train=vectors, val=vectors)
    options = replace(OPTIONS, phases=(FitPhase(epochs=4, resolution=6),))
    with pytest.raises(ConfigError, match="resolution: the samples are no images"):
        train(nn.Linear(5, 4), flat, tmp_path / "c.pt", options)
