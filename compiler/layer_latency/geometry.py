"""What a layer's latency depends on besides its widths, found by running the network."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class LayerGeometry:
    """A convolution or linear layer without its channels.

    Args:
        extents: height and width of a convolution's input; rows of a linear layer's, and 1.
        groups: of a convolution, 1 of a depthwise one, whose groups follow its channels.
        multiplier: outputs an input of a depthwise convolution; 0: it is none.
    """

    kind: Literal["conv", "linear"]
    extents: tuple[int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)  # above, left, below, right
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    multiplier: int = 0


@dataclass(frozen=True, kw_only=True)
class LayerCall:
    """A layer of a network as one inference calls it."""

    geometry: LayerGeometry
    inputs: int
    outputs: int
    calls: int  # of the layer, all alike


def layer_calls(module: "nn.Module", example: "Sequence[Tensor]") -> dict[str, LayerCall]:
    """The convolutions and linear layers of `module`, by name.

    One of three dimensions, a transposed one, and one that is called with different extents is
    missing: their kernels are not looked at one by one.

    Args:
        example: one sample of each input, (1, …); the module is in evaluation mode from then on.
    """
    import torch
    from torch import nn

    seen: dict[str, list[LayerGeometry | None]] = {}
    handles = []
    for name, layer in module.named_modules():
        if not isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
            continue

        def note(
            layer: "nn.Module", inputs: "tuple[Tensor]", _output: "Tensor", name: str = name
        ) -> None:
            seen.setdefault(name, []).append(_geometry(layer, inputs[0]))

        handles.append(layer.register_forward_hook(note))
    try:
        with torch.no_grad():
            module.eval()(*example)
    finally:
        for handle in handles:
            handle.remove()
    found = {}
    for name, geometries in seen.items():
        first = geometries[0]
        if first is not None and all(each == first for each in geometries):
            inputs, outputs = _widths(module.get_submodule(name))
            found[name] = LayerCall(
                geometry=first, inputs=inputs, outputs=outputs, calls=len(geometries)
            )
    return found


def _geometry(layer: "nn.Module", x: "Tensor") -> LayerGeometry | None:
    from torch import nn

    if isinstance(layer, nn.Linear):
        return LayerGeometry(kind="linear", extents=(x.numel() // x.shape[-1], 1))
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    *_, height, width = (1, *x.shape[2:]) if isinstance(layer, nn.Conv1d) else x.shape[2:]
    depthwise = layer.groups == layer.in_channels > 1
    # torch keeps them so whatever `padding` says: of the last axis before and behind, and so on.
    left, right, *above = layer._reversed_padding_repeated_twice
    top, bottom = above or (0, 0)
    return LayerGeometry(
        kind="conv",
        extents=(height, width),
        kernel=_pair(layer.kernel_size),
        stride=_pair(layer.stride),
        pads=(top, left, bottom, right),
        dilation=_pair(layer.dilation),
        groups=1 if depthwise else layer.groups,
        multiplier=layer.out_channels // layer.in_channels if depthwise else 0,
    )


def _widths(layer: "nn.Module") -> tuple[int, int]:
    from torch import nn

    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    return layer.in_channels, layer.out_channels


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    """The two extents; what has one axis is an image one row high."""
    return (1, values[0]) if len(values) == 1 else (values[0], values[1])
