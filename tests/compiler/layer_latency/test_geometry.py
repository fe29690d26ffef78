"""What of a layer its kernel is made from, besides the widths."""

import pytest
import torch
from torch import Tensor, nn

from edgekiln.compiler.layer_latency.geometry import LayerGeometry, layer_calls


def test_a_strided_padded_convolution_is_known_by_its_input_and_its_window() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, (3, 5), stride=2, padding=(1, 2), dilation=2))
    call = layer_calls(module, [torch.zeros(1, 3, 20, 30)])["0"]
    assert (call.inputs, call.outputs, call.calls) == (3, 8, 1)
    assert call.geometry == LayerGeometry(
        kind="conv", extents=(20, 30), kernel=(3, 5), stride=(2, 2), pads=(1, 2, 1, 2),
        dilation=(2, 2),
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding")
def test_same_padding_is_found_for_even_windows_too() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 4, padding="same"))
    assert layer_calls(module, [torch.zeros(1, 3, 9, 9)])["0"].geometry.pads == (1, 1, 2, 2)


def test_depthwise_and_grouped_convolutions_are_told_apart() -> None:
    module = nn.Sequential(nn.Conv2d(8, 16, 3, groups=8), nn.Conv2d(16, 8, 1, groups=4))
    calls = layer_calls(module, [torch.zeros(1, 8, 9, 9)])
    assert (calls["0"].geometry.multiplier, calls["0"].geometry.groups) == (2, 1)
    assert (calls["1"].geometry.multiplier, calls["1"].geometry.groups) == (0, 4)


def test_rows_of_a_linear_layer_and_a_convolution_of_one_axis() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear = nn.Conv1d(4, 6, 3, padding=1), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(self.conv(x).transpose(1, 2))  # type: ignore[no-any-return]

    calls = layer_calls(Both(), [torch.zeros(1, 4, 10)])
    assert calls["linear"].geometry == LayerGeometry(kind="linear", extents=(10, 1))
    conv = calls["conv"].geometry
    assert (conv.extents, conv.kernel, conv.pads) == ((1, 10), (1, 3), (0, 1, 0, 1))


def test_a_layer_counts_as_often_as_it_is_called_but_only_with_the_same_extents() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice, self.pyramid = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.twice(self.twice(x))
            return self.pyramid(x).mean() + self.pyramid(x[:, :, ::2]).mean()  # type: ignore[no-any-return]

    calls = layer_calls(Shared(), [torch.zeros(1, 3, 8, 8)])
    assert set(calls) == {"twice"}
    assert calls["twice"].calls == 2
