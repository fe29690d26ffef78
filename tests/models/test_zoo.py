"""Every model of the zoo is the network its source describes."""

import subprocess
import sys

import pytest
import torch

from edgekiln.models import data, zoo

# He et al., table 6; for the ImageNet networks torchvision's (EfficientNet-Lite: timm's) counts,
# which the papers round.
STATED = {
    "resnet20": (270_000, 0.01),
    "resnet56": (850_000, 0.01),
    "resnet18": (11_689_512, 0),
    "mobilenetv2": (3_504_872, 0),
    "mobilenetv3": (2_542_856, 0),
    "efficientnet-lite0": (4_652_008, 0),
    "squeezenet": (1_235_496, 0),
    "shufflenetv2": (2_278_604, 0),
}

# "Total params" of the Keras models in mlcommons/tiny.
MLPERF_TINY = {
    "resnet8": 78_666,
    "mobilenetv1?classes=2": 221_794,
    "dscnn": 24_908,
    "autoencoder": 269_992,
}


def _size(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("model", "stated"), STATED.items())
def test_a_model_has_the_size_its_source_states(model, stated):
    count, tolerance = stated  # projection shortcuts cost up to 1 %
    assert _size(zoo.build(model)) == pytest.approx(count, rel=tolerance)


@pytest.mark.parametrize(("model", "total"), MLPERF_TINY.items())
def test_an_mlperf_tiny_model_is_as_large_as_the_reference(model, total):
    module = zoo.build(model)
    count = _size(module)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            count += 3 * layer.num_features  # Keras counts mean, variance, and the bias before it
        elif isinstance(layer, torch.nn.BatchNorm1d):
            count += 2 * layer.num_features
    assert count == total


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
        ("mobilenetv3", "mobilenetv3?width=0.5"),
        ("efficientnet-lite0", "efficientnet-lite0?width=0.5"),
        ("squeezenet", "squeezenet?width=0.5"),
        ("shufflenetv2", "shufflenetv2?width=0.5"),
        ("dscnn", "dscnn?width=32"),
        ("autoencoder", "autoencoder?width=64"),
        ("vit", "vit?dim=32"),
    ],
)
def test_width_makes_a_model_smaller(wide, narrow):
    assert _size(zoo.build(narrow)) < 0.75 * _size(zoo.build(wide))


def test_a_narrow_mobilenetv2_has_widths_in_multiples_of_eight():
    module = zoo.build("mobilenetv2?width=0.35")
    widths = {m.out_channels for m in module.modules() if isinstance(m, torch.nn.Conv2d)}
    assert all(width % 8 == 0 for width in widths)
    assert max(widths) == 1280  # the last layer does not shrink below width 1
