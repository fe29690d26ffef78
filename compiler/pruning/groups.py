"""What a channel group is: the parts of several layers that must be cut together."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor, nn

Side = Literal["out", "in", "both"]


@dataclass(frozen=True)
class Item:
    """The part of one layer that some channels of a group stand for."""

    name: str
    layer: "nn.Module"
    side: Side  # "both" for layers whose outputs are their inputs: norms, depthwise convolutions
    channels: tuple[int, ...]  # of this layer
    roots: tuple[int, ...]  # the group's channel each of them belongs to


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that run through several layers, counted as outputs of the layer `root`."""

    root: str
    width: int
    items: tuple[Item, ...]  # for all channels
    # The smallest sets that can go: single channels, or one of every convolution group or head.
    atoms: tuple[tuple[int, ...], ...]
    # The attention module whose heads the atoms are; "": the channels are cut one by one.
    attention: str = ""

    @property
    def producers(self) -> tuple[str, ...]:
        """The convolutions and linear layers whose outputs these channels are."""
        return tuple(item.name for item in self.items if item.side == "out")


def width_of(item: Item) -> int:
    """The layer's channels on the item's side; no limit where nothing tells them."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    layer: Any = item.layer  # torch types attributes as Tensor | Module
    if isinstance(layer, nn.Linear):
        return int(layer.in_features if item.side == "in" else layer.out_features)
    if isinstance(layer, _ConvNd):
        return int(layer.in_channels if item.side == "in" else layer.out_channels)
    held = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    return max((len(tensor) for tensor in held if tensor.ndim), default=1 << 62)


def weight_of(layer: "nn.Module") -> "Tensor":
    """The weight: a parameter, or what a parametrization computes in its place."""
    import torch

    assert isinstance(layer.weight, torch.Tensor)
    return layer.weight


def check_range(items: Iterable[Item]) -> None:
    """Raise IndexError if a layer has fewer channels than those it is said to have."""
    for item in items:
        most = max(item.channels, default=-1)
        if most >= (width := width_of(item)):
            raise IndexError(f"channel {most} of {item.name}, which has {width}")


def atoms_of(
    width: int, periods: Iterable[tuple[Item, int]], coupled: Iterable[tuple[int, int]]
) -> tuple[tuple[int, ...], ...]:
    """Union of all channels that are bound together, in order of their first one.

    Args:
        width: the channels are 0 to below this.
        periods: layers, and how far apart their channels can only go together; 0: each alone.
        coupled: pairs of channels.
    """
    leader = list(range(width))

    def find(channel: int) -> int:
        while leader[channel] != channel:
            channel = leader[channel]
        return channel

    def join(one: int, other: int) -> None:
        one, other = find(one), find(other)
        leader[max(one, other)] = min(one, other)

    for pair in coupled:
        join(*pair)
    for item, period in periods:
        first: dict[int, int] = {}  # place within a period → a root channel
        for channel, root in zip(item.channels, item.roots, strict=True):
            if period:
                join(first.setdefault(channel % period, root), root)
    atoms: dict[int, list[int]] = defaultdict(list)
    for channel in range(width):
        atoms[find(channel)].append(channel)
    return tuple(map(tuple, atoms.values()))
