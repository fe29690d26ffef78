"""Every model of the zoo is the network its source describes."""

import subprocess
import sys

import pytest
import torch

from edgekiln.models import data, zoo

# Trainable parameters. The first figure of each pair is ours; the second is the source's own, where
# it states one, and how far ours may be from it (biases before batch norm, projection shortcuts).
PARAMETERS = {
    "resnet8": (77_946, 78_000, 0.01),  # MLPerf Tiny, table 2: 96 kB of int8 weights and file
    "resnet18": (11_689_512, 11_700_000, 0.01),  # torchvision states 11,689,512
    "resnet20": (272_474, 270_000, 0.01),  # He et al., table 6
    "resnet56": (855_770, 850_000, 0.01),  # He et al., table 6
    "mobilenetv1?classes=2": (213_586, 215_000, 0.02),
    "mobilenetv2": (3_504_872, 3_400_000, 0.04),  # Sandler et al., table 4; torchvision 3,504,872
    "dscnn": (23_180, 23_800, 0.04),  # Keras: 24,908 with 1,280 statistics and 576 biases
    "autoencoder": (267_928, 267_928, 0.0),
    "vit": (141_898, 141_898, 0.0),
}


@pytest.mark.parametrize(("model", "numbers"), PARAMETERS.items())
def test_a_model_has_the_size_its_source_states(model, numbers):
    ours, stated, tolerance = numbers
    count = sum(parameter.numel() for parameter in zoo.build(model).parameters())
    assert count == ours
    assert count == pytest.approx(stated, rel=tolerance)


@pytest.mark.parametrize("name", zoo.ENTRIES)
def test_a_model_takes_and_learns_from_its_listed_input(name):
    entry = zoo.ENTRIES[name]
    module = zoo.build(name)
    x = torch.randn(2, *entry.input_shape, generator=torch.Generator().manual_seed(0))
    output = module(x)
    assert output.shape == (2, *entry.input_shape) if name == "autoencoder" else output.ndim == 2
    output.square().mean().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize("name", zoo.ENTRIES)
def test_the_listed_input_is_that_of_the_default_data(name):
    entry = zoo.ENTRIES[name]
    assert data.load(entry.data).input_shape == entry.input_shape


@pytest.mark.parametrize("name", zoo.ENTRIES)
def test_an_entry_names_its_source_and_recipe(name):
    entry = zoo.ENTRIES[name]
    assert "arXiv:" in entry.source
    assert entry.recipe.is_file()


def test_the_zoo_lists_itself_without_torch():
    block = "import sys; sys.modules.update(dict.fromkeys(['torch', 'numpy', 'sklearn', 'PIL']))"
    code = f"{block}; from edgekiln.models.zoo import ENTRIES; print(*ENTRIES)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == list(zoo.ENTRIES)


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("resnet8", "resnet8?width=8"),
        ("resnet20", "resnet20?width=8"),
        ("mobilenetv1", "mobilenetv1?width=0.125"),
        ("mobilenetv2", "mobilenetv2?width=0.35"),
        ("dscnn", "dscnn?width=32"),
        ("autoencoder", "autoencoder?width=64"),
        ("vit", "vit?dim=32"),
    ],
)
def test_width_makes_a_model_smaller(wide, narrow):
    def size(model):
        return sum(parameter.numel() for parameter in zoo.build(model).parameters())

    assert size(narrow) < 0.75 * size(wide)


def test_a_narrow_mobilenetv2_has_widths_in_multiples_of_eight():
    module = zoo.build("mobilenetv2?width=0.35")
    widths = {m.out_channels for m in module.modules() if isinstance(m, torch.nn.Conv2d)}
    assert all(width % 8 == 0 for width in widths)
    assert max(widths) == 1280  # the last layer does not shrink below width 1
