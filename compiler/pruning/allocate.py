"""Where to cut: a greedy choice of channel blocks until a budget of MACs is met."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgekiln.compiler.pruning.groups import ChannelGroup

if TYPE_CHECKING:
    from torch import nn


@dataclass
class LayerCost:
    """MACs of one convolution or linear layer as a function of its widths."""

    uses: int  # of each weight in one inference
    kernel: int  # weights of one input-output pair
    outputs: int
    inputs: int
    groups: int
    depthwise: bool

    @classmethod
    def of(cls, layer: "nn.Module", uses: int) -> "LayerCost":
        """`uses` as `costs.count` found it."""
        from torch import nn

        if isinstance(layer, nn.Linear):
            return cls(uses, 1, layer.out_features, layer.in_features, 1, False)
        assert isinstance(layer, nn.modules.conv._ConvNd)
        depthwise = layer.groups == layer.out_channels > 1
        kernel = math.prod(layer.kernel_size)
        return cls(uses, kernel, layer.out_channels, layer.in_channels, layer.groups, depthwise)

    def macs(self, fewer_outputs: int = 0, fewer_inputs: int = 0) -> int:
        """MACs with that many channels less."""
        outputs, inputs = self.outputs - fewer_outputs, self.inputs - fewer_inputs
        if self.depthwise:  # the number of groups shrinks with the channels
            return self.uses * self.kernel * outputs * self.inputs // self.groups
        return self.uses * self.kernel * outputs * inputs // self.groups


@dataclass
class Candidate:
    """A group that may be cut, its atoms from the least to the most important."""

    group: ChannelGroup
    atoms: list[tuple[int, ...]]
    scores: list[float]  # of the atoms
    matmul_macs: float = 0.0  # a channel's part in matrix products between activations (attention)
    cut: list[int] = field(default_factory=list)  # channels chosen so far

    @classmethod
    def of(
        cls, group: ChannelGroup, importance: Sequence[float], matmul_macs: float
    ) -> "Candidate":
        """`importance`: one number a channel."""
        scored = sorted((sum(importance[c] for c in atom), atom) for atom in group.atoms)
        atoms, scores = [atom for _, atom in scored], [score for score, _ in scored]
        return cls(group, atoms, scores, matmul_macs)

    @property
    def left(self) -> int:
        """Channels not yet chosen."""
        return self.group.width - len(self.cut)

    def block(self, multiple: int) -> int:
        """Atoms to go next: a block of `multiple` channels, or first what exceeds a multiple of it.

        0 when none may go: fewer than one block would be left, or no number of atoms fits.
        """
        size = len(self.group.atoms[0])
        if any(len(atom) != size for atom in self.group.atoms):
            return 0
        channels = self.left % multiple or multiple
        if channels % size:
            channels = math.lcm(multiple, size)
        return channels // size if self.left - channels >= max(multiple, size) else 0


def allocate(
    candidates: Sequence[Candidate],
    layers: Mapping[str, LayerCost],
    *,
    macs: int,
    budget: int,
    multiple: int,
) -> int:
    """Choose channels, in `Candidate.cut`, until at most `budget` of `macs` are left.

    Step by step the block goes whose importance is lowest for the MACs it saves. The last block may
    cross the budget, so the result is below it by less than one block; it is above it only when
    nothing more may be cut. Widths that are not a multiple are first brought to one.

    Returns:
        The MACs left.
    """
    while macs > budget:
        best: Candidate | None = None
        best_price, best_saved = math.inf, 0
        for candidate in candidates:
            if count := candidate.block(multiple):
                saved = _saved(candidate, count, layers)
                price = sum(candidate.scores[:count]) / saved if saved else math.inf
                if price < best_price:
                    best, best_price, best_saved = candidate, price, saved
        if best is None:
            break
        macs -= best_saved
        _take(best, best.block(multiple), layers)
    return macs


def _saved(candidate: Candidate, count: int, layers: Mapping[str, LayerCost]) -> int:
    """MACs that the next `count` atoms of a candidate cost."""
    in_layers = sum(
        layers[name].macs() - layers[name].macs(outputs, inputs)
        for name, (outputs, inputs) in _fewer(candidate, count, layers).items()
    )
    channels = count * len(candidate.group.atoms[0])
    return in_layers + round(candidate.matmul_macs * channels)


def _take(candidate: Candidate, count: int, layers: Mapping[str, LayerCost]) -> None:
    """Choose the next `count` atoms, and let the layers shrink."""
    for name, (outputs, inputs) in _fewer(candidate, count, layers).items():
        layers[name].outputs -= outputs
        layers[name].inputs -= 0 if layers[name].depthwise else inputs
    for atom in candidate.atoms[:count]:
        candidate.cut.extend(atom)
    del candidate.atoms[:count], candidate.scores[:count]


def _fewer(candidate: Candidate, count: int, layers: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Count the outputs and inputs that each layer loses with the next `count` atoms."""
    channels = count * len(candidate.group.atoms[0])
    fewer: dict[str, tuple[int, int]] = {}
    for item in candidate.group.items:
        if item.name in layers:
            outputs, inputs = fewer.get(item.name, (0, 0))
            # As many as the group's, or more behind a flattened image, or fewer behind a split.
            lost = len(item.channels) * channels // candidate.group.width
            if item.side == "in":
                inputs += lost
            else:
                outputs += lost
            fewer[item.name] = outputs, inputs
    return fewer
