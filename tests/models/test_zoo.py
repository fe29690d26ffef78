"""Every model of the zoo is the network its source describes."""

import subprocess
import sys

import pytest
import torch

from edgekiln.models import data, zoo
from edgekiln.runtime.errors import InputError

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
    wanted = [parameter for parameter in module.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None for parameter in wanted)


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
        ("airbench", "airbench?width=32"),
    ],
)
def test_width_makes_a_model_smaller(wide, narrow):
    assert _size(zoo.build(narrow)) < 0.75 * _size(zoo.build(wide))


def test_a_narrow_mobilenetv2_has_widths_in_multiples_of_eight():
    module = zoo.build("mobilenetv2?width=0.35")
    widths = {m.out_channels for m in module.modules() if isinstance(m, torch.nn.Conv2d)}
    assert all(width % 8 == 0 for width in widths)
    assert max(widths) == 1280  # the last layer does not shrink below width 1


def test_the_whitened_patches_have_no_correlation_left():
    module = zoo.build("airbench")
    coarse = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x = torch.nn.functional.interpolate(coarse, (32, 32), mode="bilinear")
    module.initialize_by_samples(x)
    with torch.no_grad():
        module.whiten.bias.zero_()
        white = module.whiten(x).transpose(0, 1).flatten(1)
    half = len(white) // 2
    torch.testing.assert_close(white[half:], -white[:half])
    covariance = white[:half] @ white[:half].T / white.shape[1]
    off = covariance - covariance.diag().diag()
    assert off.abs().max() < 0.01
    assert covariance.diag().max() <= 1.001, "patches of little variance are not blown up"
    assert covariance.diag().max() > 0.9


@pytest.mark.parametrize("name", ["mobilenetv2", "mobilenetv3"])
def test_less_reduction_leaves_larger_maps_and_the_same_weights(name):
    usual, small = zoo.build(name), zoo.build(f"{name}?reduction=8")
    assert _size(usual) == _size(small)
    x = torch.zeros(1, 3, 64, 64)
    assert usual.layers(x).shape[2:] == (2, 2)
    assert small.layers(x).shape[2:] == (8, 8)


def test_a_reduction_that_no_network_has_is_refused():
    with pytest.raises(InputError, match="reduction = 3"):
        zoo.build("mobilenetv2?reduction=3")
