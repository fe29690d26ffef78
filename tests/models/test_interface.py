"""A module takes one tensor and gives one; others are refused with what they take and give."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekiln.models import data
from edgekiln.models.interface import check_fits, in_forwards_order, outputs_of_one, samples_of
from edgekiln.runtime.errors import InputError


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(192, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


class Optional(Plain):
    def forward(self, x: Tensor, scale: Tensor | None = None, *, as_dict: bool = False) -> Tensor:
        assert scale is None
        assert not as_dict
        return super().forward(x)


class Two(Plain):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x * mask)


class Pair(Plain):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().forward(x), x


class Named(Plain):
    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"logits": super().forward(x), "hidden": x}


class Table(nn.Module):
    """Reads its samples as indices, which zeros or noise are not."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(256, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.table((x * 255).round().long()).flatten(1)[:, :10]


SEVERAL = (
    "say which: --task NAME=TASK with that output's name in a dict; or wrap it in a module whose "
    "forward returns the one output that counts"
)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits?size=8&scale=0.00392156862745098")


@pytest.mark.parametrize("module", [Plain(), Optional(), Table()], ids=lambda m: type(m).__name__)
def test_one_input_and_one_output_are_taken(digits, module):
    assert in_forwards_order(digits, module, "net") is digits
    assert check_fits(module, digits, "net")["output"].shape == (1, 10)


def test_samples_are_the_preprocessed_training_images(digits):
    (samples,) = samples_of(digits, 3)
    assert samples.shape == (3, 3, 8, 8)
    pixels = torch.from_numpy(digits.train.x[:3]).permute(0, 3, 1, 2)
    assert torch.allclose(samples * 255, pixels.float(), atol=1e-3)


@pytest.mark.parametrize(
    ("module", "message", "hint"),
    [
        (
            Two(),
            "net: takes 2 inputs: x, mask; digits gives one",
            "let package.module:factory give dicts by these names, or wrap the module",
        ),
        (
            Pair(),
            "net: gives 2 outputs: output, output_1; classification takes one",
            SEVERAL,
        ),
        (
            Named(),
            "net: gives 2 outputs: logits, hidden; classification takes one",
            SEVERAL,
        ),
    ],
)
def test_several_inputs_or_outputs_are_refused_by_name(digits, module, message, hint):
    with pytest.raises(InputError) as caught:
        check_fits(module, in_forwards_order(digits, module, "net"), "net")
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_one_of_several_outputs_is_named_by_the_task():
    named = data.load("digits?size=8&scale=0.00392156862745098&task=logits=classification")
    assert check_fits(Named(), named, "net")["logits"].shape == (1, 10)


def test_vectors_get_no_advice_about_the_size_of_images():
    vectors = data.load("hum")
    with pytest.raises(InputError) as caught:
        outputs_of_one(nn.Linear(3, 3), vectors, "net")
    assert caught.value.hint == "choose other data"


def mask_and_x():
    rows = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    return [({"mask": row, "x": row}, place % 2) for place, row in enumerate(rows)]


def test_another_first_input_does_not_take_the_numbers_of_the_datas_first():
    spec = f"{__name__}:mask_and_x?task=classification"
    assert list(in_forwards_order(data.load(spec), Two(), "it").train.inputs) == ["x", "mask"]
    with pytest.raises(InputError) as caught:
        in_forwards_order(data.load(f"{spec}&scale=9"), Two(), "it")
    assert "it: takes x first" in caught.value.message
    assert "let forward() take mask first" in caught.value.hint
