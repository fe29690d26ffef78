"""The widths of a network's layers, on which its cost depends, as they shrink."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from edgekiln.compiler.pruning.groups import ChannelGroup

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """A convolution or linear layer, as far as its weights and their work go."""

    uses: int  # of each weight in one inference
    kernel: int  # weights of one input-output pair
    outputs: int
    inputs: int
    groups: int
    depthwise: bool

    @classmethod
    def of(cls, layer: "nn.Module", uses: int) -> Self:
        """`uses` as `models.cost.count` found it."""
        from torch import nn

        if isinstance(layer, nn.Linear):
            outputs, inputs, kernel, groups = layer.out_features, layer.in_features, 1, 1
        else:
            assert isinstance(layer, nn.modules.conv._ConvNd)
            outputs, inputs, groups = layer.out_channels, layer.in_channels, layer.groups
            kernel = math.prod(layer.kernel_size)
        return cls(
            uses=uses,
            kernel=kernel,
            outputs=outputs,
            inputs=inputs,
            groups=groups,
            depthwise=groups == outputs > 1,
        )

    @property
    def weights(self) -> int:
        """How many there are, biases apart."""
        return self.kernel * self.outputs * self.inputs // self.groups

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return self.uses * self.weights

    def without(self, outputs: int, inputs: int) -> Self:
        """The layer with so many outputs and inputs less."""
        # A depthwise layer's cost has one width: its groups are gone with its channels, so the
        # quotient of inputs and groups stays.
        left = self.inputs if self.depthwise else self.inputs - inputs
        return replace(self, outputs=self.outputs - outputs, inputs=left)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What the loss of some channels of a group does to the layers."""

    root: str  # of the group
    channels: int
    layers: Mapping[str, LayerShape]  # those that change, as they would become


@dataclass
class Widths:
    """What is left of a network while channels are chosen."""

    layers: dict[str, LayerShape]
    gone: dict[str, int]  # channels of each group, by its root

    def cut(self, group: ChannelGroup, channels: int) -> Cut:
        """What so many channels of `group` would take away."""
        fewer: dict[str, tuple[int, int]] = {}
        for item in group.items:
            if item.name in self.layers:
                outputs, inputs = fewer.get(item.name, (0, 0))
                # As many as the group's, or more behind a flattened image, or fewer behind a split.
                lost = len(item.channels) * channels // group.width
                if item.side == "in":
                    inputs += lost
                else:
                    outputs += lost
                fewer[item.name] = outputs, inputs
        changed = {name: self.layers[name].without(*lost) for name, lost in fewer.items()}
        return Cut(root=group.root, channels=channels, layers=changed)

    def take(self, cut: Cut) -> None:
        """Let the layers shrink."""
        self.layers |= cut.layers
        self.gone[cut.root] = self.gone.get(cut.root, 0) + cut.channels
