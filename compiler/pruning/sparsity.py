"""What makes a network ready to be cut: a penalty that draws whole channels towards zero."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekiln.compiler.pruning.groups import ChannelGroup, Item

if TYPE_CHECKING:
    from torch import Tensor, nn


def scale_penalty(module: "nn.Module", groups: Sequence[ChannelGroup]) -> "Tensor":
    """Σ |γ| over the batch norms of `groups` (network slimming: Liu et al., arXiv:1708.06519)."""
    import torch
    from torch.nn.modules.batchnorm import _NormBase

    names = {item.name for group in groups for item in group.items}
    scales = [
        layer.weight.abs().sum()
        for name, layer in module.named_modules()
        if name in names and isinstance(layer, _NormBase) and layer.weight is not None
    ]
    return torch.stack(scales).sum() if scales else torch.zeros(())


def group_penalty(module: "nn.Module", groups: Sequence[ChannelGroup]) -> "Tensor":
    """Σ √(Σ w²) over channels: of all weights that a channel stands for, the norm.

    The group lasso (Yuan and Lin, 2006) over the channels' dependencies, as in DepGraph (Fang et
    al., arXiv:2301.12900, section 3.3), whose squares it has below a root: what is small goes to
    zero, and does not only shrink.
    """
    import torch

    total = torch.zeros(())
    for group in groups:
        squares = torch.zeros(group.width)
        for item in group.items:
            for index, values in _of_channels(module, item):
                squares = squares.index_add(0, index, values)
        # The root has no derivative at zero.
        total = total + (squares + 1e-12).sqrt().sum()
    return total


def _of_channels(module: "nn.Module", item: Item) -> "list[tuple[Tensor, Tensor]]":
    """Squares of a layer's weights, added up by channel, and the group's channel of each."""
    import torch
    from torch import nn

    layer = module.get_submodule(item.name)
    weight = layer.weight
    if not isinstance(weight, nn.Parameter) or getattr(layer, "transposed", False):
        return []
    axis = 1 if item.side == "in" else 0
    # Inputs of a grouped convolution are no columns; its outputs are in the group as well.
    if weight.ndim <= axis or (axis and getattr(layer, "groups", 1) > 1):
        return []
    others = [each for each in range(weight.ndim) if each != axis]
    squares = weight.square().sum(others) if others else weight.square()
    return [(torch.tensor(item.roots), squares[list(item.channels)])]
