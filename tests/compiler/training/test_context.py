"""What a training stage refuses, and how it says so."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from edgekiln.compiler.training.context import check_finite, open_context
from edgekiln.compiler.training.ema import Ema
from edgekiln.compiler.training.gradients import differentiate
from edgekiln.compiler.training.teacher import adapt_input
from edgekiln.compiler.training.transfer import load_matching_weights
from edgekiln.models import artifact
from edgekiln.models.artifact import ModuleMeta, save_module
from edgekiln.models.interface import check_fits
from edgekiln.runtime.errors import ConfigError, InputError, TrainingError
from edgekiln.runtime.manifest import Preprocessing
from tests.compiler.training.conftest import tiny


class Masked(nn.Module):
    """A causal mask is minus infinity where nobody may look."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("mask", torch.full((2, 2), -math.inf).triu(1))


def test_the_infinities_of_a_mask_are_no_fault_and_have_no_average():
    module = Masked()
    check_finite(module, "net.pt")
    ema = Ema(module, 0.9)
    for _ in range(3):
        ema.update(module)
    assert torch.equal(ema.state["mask"], torch.tensor([[0, -math.inf], [0, 0]]))


@pytest.mark.parametrize(("name", "value"), [("mask", math.nan), ("norm.running_var", math.inf)])
def test_a_mask_that_is_not_a_number_and_an_infinite_statistic_are_named(name, value):
    module = Masked()
    module.get_buffer(name).flatten()[0] = value
    with pytest.raises(InputError, match=f"^net.pt: tensor {name} holds 1 values"):
        check_finite(module, "net.pt")


class InPlace(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.how = nn.Linear(2, 2), how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.sigmoid(self.first(x))
        if self.how == "written over":
            y += 1
        return y.detach() if self.how == "cut off" else y


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("written over", "forward() writes over values that its gradients need"),
        ("cut off", "no parameter has a part in the loss"),
    ],
)
def test_a_network_without_gradients_says_why(how, what):
    with pytest.raises(TrainingError) as caught:
        differentiate(InPlace(how)(torch.ones(1, 2)).square().sum())
    assert (caught.value.message, caught.value.exit_code) == (
        f"the network cannot be trained: {what}",
        10,
    )


def test_a_weight_that_is_not_a_number_is_named():
    module = tiny()
    with torch.no_grad():
        module[6].weight[0, :2] = math.nan
    with pytest.raises(InputError) as caught:
        check_finite(module, "net.pt")
    assert caught.value.message == (
        "net.pt: tensor 6.weight holds 2 values that are NaN or infinite"
    )
    assert caught.value.hint == "the training that made it diverged: take an earlier checkpoint"
    assert caught.value.exit_code == 3


def test_data_of_another_shape_is_refused_with_both_shapes(data):
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 4))
    with pytest.raises(InputError) as caught:
        check_fits(module, data, "net.pt")
    message = caught.value.message
    assert message.startswith("net.pt: does not take the samples of stripes, shape (1, 8, 8): ")
    assert message.endswith("; the model's first weight 0.weight has (8, 3, 3, 3)")
    assert caught.value.hint == "choose other data, or have it resized: --data NAME?size=32"


def test_outputs_of_another_number_than_the_classes_are_refused(data):
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    with pytest.raises(InputError) as caught:
        check_fits(module, data, "net.pt")
    assert caught.value.message == (
        "net.pt: gives (1, 7) for one sample of stripes, expected (1, 4)"
    )


def test_a_module_without_data_asks_for_some(tmp_path):
    meta = ModuleMeta(factory="resnet8", input_shape=(3, 32, 32), data="")
    from edgekiln.models import zoo

    save_module(tmp_path / "m.pt", zoo.build("resnet8"), meta)
    with pytest.raises(ConfigError) as caught:
        open_context(tmp_path / "m.pt", "", 0)
    assert caught.value.message == f"{tmp_path / 'm.pt'}: does not name the data it is trained on"


def test_the_modules_own_preprocessing_is_kept(tmp_path):
    from edgekiln.models import data as sets

    spec = "digits?limit=240&test=40&val=40&calib=20"
    dataset = replace(sets.load(spec, 0), preprocessing=Preprocessing(mean=(0.5,), std=(0.25,)))
    artifact.create(tmp_path / "m.pt", "resnet8?width=8", dataset, spec, seed=0)
    context = open_context(tmp_path / "m.pt", "", 0)
    assert context.data.preprocessing.mean == (0.5,)
    assert context.samples[0].shape == (4, 3, 32, 32)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_teacher_normalized_otherwise_sees_the_same_pixels(layout):
    own = Preprocessing(scale=1.0, mean=(10.0, 20.0), std=(2.0, 4.0), layout=layout)
    given = Preprocessing(scale=1 / 255, mean=(0.1, 0.4), std=(0.5, 0.3), layout=layout)
    pixels = torch.rand(3, 2, 4, 4) * 255 if layout == "NCHW" else torch.rand(3, 4, 4, 2) * 255
    shape = (2, 1, 1) if layout == "NCHW" else (2,)

    def prepared(p: Preprocessing) -> torch.Tensor:
        mean, std = torch.tensor(p.mean).view(shape), torch.tensor(p.std).view(shape)
        return (pixels * p.scale - mean) / std

    teacher = nn.Identity()
    adapt_input(teacher, own, given, "teacher.pt")
    assert torch.allclose(teacher(prepared(given)), prepared(own), rtol=1e-4, atol=1e-4)


def test_a_teacher_of_another_layout_is_refused():
    with pytest.raises(InputError) as caught:
        adapt_input(
            nn.Identity(), Preprocessing(layout="NHWC"), Preprocessing(layout="NCHW"), "teacher.pt"
        )
    assert caught.value.message == (
        "teacher.pt: the teacher takes RGB NHWC input, the student RGB NCHW, normalized otherwise"
    )


def test_transfer_takes_what_fits_and_names_the_rest(tmp_path):
    given, module = tiny(seed=1), tiny(seed=2)
    state = {f"module.{name}": tensor for name, tensor in given.state_dict().items()}
    state["module.6.weight"] = torch.zeros(10, 128)
    del state["module.6.bias"]
    state["module.extra"] = torch.zeros(1)
    torch.save({"state_dict": state}, tmp_path / "pretrained.pt")
    before = module[6].weight.clone()
    notes = load_matching_weights(module, tmp_path / "pretrained.pt")
    assert notes == [
        "init: other shape, initialized anew: 6.weight (10, 128) → (4, 128)",
        "init: not in the checkpoint, initialized anew: 6.bias",
        "init: not in the model, left out: extra",
    ]
    assert torch.equal(module[0].weight, given[0].weight)
    assert torch.equal(module[6].weight, before)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    torch.save({"a.weight": torch.zeros(3), "b.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(InputError) as caught:
        load_matching_weights(tiny(), tmp_path / "other.pt")
    assert caught.value.message.startswith(
        f"{tmp_path / 'other.pt'}: no tensor fits the model: it has a.weight, b.weight, …"
    )


def wrapped(state: dict[str, torch.Tensor]) -> dict[str, object]:
    """What frameworks write, by the name of the one that does."""
    return {
        "compiled": {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
        "parallel and compiled": {
            "model": {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}
        },
        "lightning": {
            "epoch": 3,
            "state_dict": {
                **{f"model.{name}": tensor for name, tensor in state.items()},
                "criterion.weight": torch.ones(4),
            },
            "optimizer_states": [{"state": {0: {"step": torch.zeros(1)}}}],
        },
        "lightning with a wrapper": {
            "state_dict": {f"net.backbone.{name}": tensor for name, tensor in state.items()}
        },
        "tutorial": {
            "epoch": 3,
            "model_state_dict": state,
            "optimizer_state_dict": {"state": {0: {"exp_avg": torch.zeros(3)}}},
            "loss": torch.zeros(()),
        },
        "nested": {"model": {"state_dict": state}},
    }


@pytest.mark.parametrize("kind", wrapped({}))
def test_checkpoints_of_other_frameworks_are_read(tmp_path, kind):
    given, module = tiny(seed=1), tiny(seed=2)
    torch.save(wrapped(given.state_dict())[kind], tmp_path / "pretrained.pt")
    assert load_matching_weights(module, tmp_path / "pretrained.pt") == []
    for name, tensor in given.state_dict().items():
        assert torch.equal(module.state_dict()[name], tensor)


def test_a_prefix_that_is_the_models_own_stays(tmp_path):
    given, module = nn.Module(), nn.Module()
    given.model, module.model = tiny(seed=1), tiny(seed=2)
    torch.save(given.state_dict(), tmp_path / "own.pt")
    assert load_matching_weights(module, tmp_path / "own.pt") == []
    assert torch.equal(module.model[0].weight, given.model[0].weight)


def test_a_checkpoint_that_holds_itself_has_no_tensors(tmp_path):
    endless: dict[str, object] = {}
    endless["model"] = endless
    torch.save(endless, tmp_path / "endless.pt")
    with pytest.raises(InputError, match="not a checkpoint"):
        load_matching_weights(tiny(), tmp_path / "endless.pt")
