"""Inner layers that learn from a teacher's, and leave nothing behind."""

import pytest
import torch
from torch import nn

from edgekiln.compiler.training.classroom import Teaching
from edgekiln.compiler.training.fit import fit
from edgekiln.compiler.training.hints import AUTO, HintPair, pair_layers, regressor
from edgekiln.compiler.training.imitation import Imitation
from edgekiln.compiler.training.loss import Objective
from edgekiln.compiler.training.options import FitOptions
from edgekiln.models import zoo
from edgekiln.runtime.errors import ConfigError
from tests.compiler.training.conftest import tiny

PICTURES = (torch.zeros(2, 3, 32, 32),)
STRIPES = (torch.zeros(2, 1, 8, 8),)


def test_the_ends_of_the_stages_are_found_in_both_networks():
    student, teacher = (zoo.build(name) for name in ("resnet8", "resnet20"))
    pairs = pair_layers(student, teacher, PICTURES, (AUTO,))
    assert pairs == (
        HintPair(student="blocks.0", teacher="blocks.2"),
        HintPair(student="blocks.1", teacher="blocks.5"),
        HintPair(student="blocks", teacher="blocks"),
    )


def test_networks_of_numbers_pair_their_last_hidden_layer():
    def dense(width: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, width), nn.Tanh(), nn.Linear(width, 2)
        )

    pairs = pair_layers(dense(4), dense(16), (torch.zeros(3, 5),), (AUTO,))
    assert pairs == (HintPair(student="3", teacher="3"),)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("2", "names one layer"),
        ("2=nowhere", "the teacher has no layer 'nowhere'"),
        ("nowhere=2", "the student has no layer 'nowhere'"),
        ("2=3", "features of 8×8×8 cannot learn from those of 16×4×4"),
    ],
)
def test_a_pair_that_cannot_be_is_refused_by_name(wanted, said):
    with pytest.raises(ConfigError, match=said):
        pair_layers(tiny(), tiny(width=16), STRIPES, (wanted,))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((2, 4, 5, 6), (2, 7, 5, 6)),
        ((2, 4, 9), (2, 7, 9)),
        ((2, 9, 4), (2, 9, 7)),
        ((2, 4), (2, 7)),
    ],
)
def test_a_regressor_brings_features_to_the_teachers_width(ours, theirs):
    assert regressor(ours, theirs, "a=b")(torch.zeros(ours)).shape == theirs


def learn(data, path, *, hint_weight=1.0, **how):
    """Train a student whose first stage, before its pool, is hinted at."""
    teacher, student = tiny(seed=4, width=16), tiny(seed=1)
    pairs = pair_layers(student, teacher, STRIPES, ("2=2",))
    fit(
        student,
        data,
        Objective(imitation=Imitation(hint_weight=hint_weight)),
        FitOptions(epochs=3, batch_size=32, learning_rate=0.01),
        checkpoint_path=path,
        teaching=Teaching(networks=(teacher,), hints=pairs),
        **how,
    )
    return student


def test_hints_change_what_is_learned_and_leave_nothing_behind(data, tmp_path):
    hinted, barely = (
        learn(data, tmp_path / f"{weight}.ckpt", hint_weight=weight) for weight in (10.0, 1e-9)
    )
    assert not torch.equal(hinted[0].weight, barely[0].weight)
    assert hinted.state_dict().keys() == tiny().state_dict().keys()
    assert not any(layer._forward_hooks for layer in hinted.modules())


def test_a_hinted_training_resumed_ends_in_the_same_bits(data, tmp_path):
    straight = learn(data, tmp_path / "straight.ckpt")

    def die(_done: int, _total: int, text: str) -> None:
        if text.startswith("epoch 3/3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(data, tmp_path / "killed.ckpt", advance=die)
    resumed = learn(data, tmp_path / "killed.ckpt")
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_the_average_of_the_weights_can_teach(data, tmp_path):
    def trained(*, average: bool) -> nn.Module:
        student = tiny(seed=1)
        fit(
            student,
            data,
            Objective(),
            FitOptions(epochs=2, batch_size=32, learning_rate=0.01, ema=0.9),
            checkpoint_path=tmp_path / f"{average}.ckpt",
            teaching=Teaching(average=average),
        )
        return student

    taught, alone = trained(average=True), trained(average=False)
    assert not torch.equal(taught[0].weight, alone[0].weight)
    assert all(torch.isfinite(tensor).all() for tensor in taught.state_dict().values())
