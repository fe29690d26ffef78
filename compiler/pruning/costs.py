"""What a network costs as a function of its widths: the budgets are held against these."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

from edgekiln.compiler.pruning import groups
from edgekiln.compiler.pruning.graph import ChannelGraph
from edgekiln.compiler.pruning.groups import ChannelGroup
from edgekiln.compiler.pruning.layers import Cut, LayerShape, Widths
from edgekiln.compiler.pruning.samples import Samples, first
from edgekiln.models import cost
from edgekiln.models.copies import copied

if TYPE_CHECKING:
    from torch import nn

# Of an int8 program, beside one byte a weight: an int32 bias and a float32 multiplier.
CHANNEL_BYTES = 8


class WidthCost(Protocol):
    """One kind of cost of a network whose channels are being chosen."""

    def left(self, widths: Widths) -> float:
        """The cost with these widths, which a budget is held against."""
        ...

    def saved(self, widths: Widths, cut: Cut) -> float:
        """How much nearer to the budget a cut leads, by which it is ranked; 0 or less: none."""
        ...


@dataclass(frozen=True, kw_only=True)
class PrunableNetwork:
    """A network and the groups of it that may be cut: what its costs are found from."""

    module: "nn.Module"
    samples: Samples  # as `survey` takes them
    groups: tuple[ChannelGroup, ...]
    counted: cost.ModuleCosts

    @classmethod
    def of(cls, module: "nn.Module", samples: Samples, groups: Sequence[ChannelGroup]) -> Self:
        counted = cost.count(module, *first(samples, 1))
        return cls(module=module, samples=samples, groups=tuple(groups), counted=counted)

    @property
    def widths(self) -> Widths:
        """Those that it has, with nothing gone."""
        layers = {
            name: LayerShape.of(self.module.get_submodule(name), uses)
            for name, uses in self.counted.uses.items()
        }
        return Widths(layers=layers, gone={})

    def without_half(self, group: ChannelGroup) -> "tuple[nn.Module, int]":
        """A copy with half of a group's atoms cut, and how many channels these are."""
        trial = copied(self.module)
        channels = [c for atom in group.atoms[: len(group.atoms) // 2] for c in atom]
        ChannelGraph(trial, self.samples).cut(group, channels)
        return trial, len(channels)


CostOf = Callable[[PrunableNetwork], WidthCost]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What may be left of one kind of cost."""

    cost_of: CostOf
    most: float


@dataclass(frozen=True, kw_only=True)
class SumOverLayers:
    """A cost of each layer by itself, and what is spent between them.

    Args:
        of_layer: name and shape → the layer's cost.
        of_channel: what a channel of a group costs besides, by the group's root.
        constant: what no cut changes.
    """

    of_layer: Callable[[str, LayerShape], float]
    of_channel: Mapping[str, float] = field(default_factory=dict)
    constant: float = 0.0

    def left(self, widths: Widths) -> float:
        in_layers = sum(self.of_layer(name, shape) for name, shape in widths.layers.items())
        between = sum(self.of_channel.get(root, 0) * gone for root, gone in widths.gone.items())
        return self.constant + in_layers - between

    def saved(self, widths: Widths, cut: Cut) -> float:
        in_layers = sum(
            self.of_layer(name, widths.layers[name]) - self.of_layer(name, shape)
            for name, shape in cut.layers.items()
        )
        return in_layers + self.of_channel.get(cut.root, 0) * cut.channels


def macs(network: PrunableNetwork) -> WidthCost:
    """Multiply-accumulates: of layers, and of products between activations (attention)."""
    return SumOverLayers(
        of_layer=lambda _, shape: shape.macs,
        of_channel=macs_between_activations(network),
        constant=network.counted.macs - sum(s.macs for s in network.widths.layers.values()),
    )


def parameters(network: PrunableNetwork) -> WidthCost:
    """Weights and biases, batch norms folded."""

    def of_layer(_: str, shape: LayerShape) -> float:
        return shape.weights + shape.outputs

    return _completed(network, of_layer, network.counted.parameters)


def stored_bytes(_network: PrunableNetwork) -> WidthCost:
    """The constants of the int8 program: a byte a weight and `CHANNEL_BYTES` a channel, without
    what a target's kernels add for speed.
    """

    def of_layer(_: str, shape: LayerShape) -> float:
        return shape.weights + CHANNEL_BYTES * shape.outputs

    return SumOverLayers(of_layer=of_layer)


def _completed(
    network: PrunableNetwork, of_layer: Callable[[str, LayerShape], float], total: float
) -> SumOverLayers:
    """The sum over layers with the constant that makes it `total` for the network as it is."""
    in_layers = sum(of_layer(name, shape) for name, shape in network.widths.layers.items())
    return SumOverLayers(of_layer=of_layer, constant=total - in_layers)


def macs_between_activations(network: PrunableNetwork) -> Mapping[str, float]:
    """What one channel of each group costs in products of two activations, found by cutting half of
    the group; by the group's root.
    """

    def between(of: "nn.Module", counted: cost.ModuleCosts) -> int:
        return counted.macs - sum(
            uses * groups.weight_of(of.get_submodule(name)).numel()
            for name, uses in counted.uses.items()
        )

    before = between(network.module, network.counted)
    if before == 0:
        return {}
    saved = {}
    for group in network.groups:
        trial, channels = network.without_half(group)
        after = between(trial, cost.count(trial, *first(network.samples, 1)))
        saved[group.root] = (before - after) / channels
    return saved
