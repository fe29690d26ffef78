"""Which channels of which layers must be cut together, by torch-pruning's dependency graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekiln.compiler.pruning import attention
from edgekiln.compiler.pruning.bounds import IndexAllowance, bound
from edgekiln.compiler.pruning.groups import (
    ChannelGroup,
    Item,
    Side,
    atoms_of,
    check_range,
    width_of,
)
from edgekiln.compiler.pruning.samples import Samples, first
from edgekiln.runtime.errors import UnsupportedError, first_line

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Followed:
    """What became of following the outputs of every convolution and linear layer."""

    groups: tuple[ChannelGroup, ...]
    lost: Mapping[str, str]  # by layer, why its channels could not be followed


class ChannelGraph:
    """The channel groups of a module. Cutting changes that module, in place."""

    def __init__(self, module: "nn.Module", samples: Samples) -> None:
        """Trace `module` on the first of `samples`; leaves it in evaluation mode.

        Raises:
            UnsupportedError: channels cannot be followed through the module.
        """
        import torch
        import torch_pruning as tp

        self._module = module
        self._names = {layer: name for name, layer in module.named_modules()}
        self._parents = {
            child: parent for parent in module.modules() for child in parent.children()
        }
        self._allowance = IndexAllowance()
        with torch.enable_grad():
            # In a list: torch-pruning first tries `module(*example)`, which would unpack the batch.
            try:
                self._graph = tp.DependencyGraph().build_dependency(
                    module, example_inputs=[*first(samples, 1)], verbose=False
                )
            except Exception as error:  # whatever a layer that it mistakes leads it to
                raise UnsupportedError(
                    f"the channels of {type(module).__name__} cannot be followed"
                    f"{_recurrent(module) or f': {first_line(error)}'}",
                    "leave pruning out: --skip prune",
                ) from error
        bound(self._graph, self._allowance)

    def groups(self) -> tuple[ChannelGroup, ...]:
        """All groups of more than one channel that begin at a convolution or linear layer."""
        return self.follow().groups

    def follow(self) -> Followed:
        """All such groups, and the layers whose channels could not be followed."""
        found: list[ChannelGroup] = []
        lost: dict[str, str] = {}
        seen: set[str] = set()
        for name in self._roots():
            if name in seen:  # one group with an earlier layer
                continue
            width = self._graph.get_out_channels(self._module.get_submodule(name))
            try:
                raw = self._group(name, range(width))
                items = self._items(raw)
                check_range(items)
                coupled = self._coupled(name, width) if _splits(raw) else ()
            except Exception as error:  # whatever a layer that it mistakes leads it to
                lost[name] = first_line(error)
                continue
            seen |= {item.name for item in items if item.side != "in"}
            if width > 1:
                periods = [(item, self._period(item)) for item in items]
                atoms = atoms_of(width, periods, coupled)
                found.append(ChannelGroup(name, width, items, atoms))
        return Followed(tuple(found), lost)

    def _coupled(self, root: str, width: int) -> tuple[tuple[int, int], ...]:
        """Pairs of the root's channels that go together, as the halves of a split tensor do.

        Following some channels leads back to those they are coupled with, unless these are among
        them. Two channels differ in a bit of their numbers, so one of these halves parts them.
        """
        pairs: set[tuple[int, int]] = set()
        for bit in range((width - 1).bit_length()):
            for value in (0, 1):
                half = [c for c in range(width) if c >> bit & 1 == value]
                for item in self._items(self._group(root, half)):
                    if item.name == root and item.side == "out":
                        pairs |= set(zip(item.channels, item.roots, strict=True))
        return tuple(pair for pair in sorted(pairs) if pair[0] != pair[1])

    def _roots(self) -> list[str]:
        """The convolutions and linear layers that the trace met, in its order."""
        from torch import nn
        from torch.nn.modules.conv import _ConvNd

        return [
            self._names[layer]
            for layer in self._graph.module2node
            if layer in self._names and isinstance(layer, _ConvNd | nn.Linear)
        ]

    def items(self, group: ChannelGroup, channels: Sequence[int]) -> tuple[Item, ...]:
        """What cutting these channels of the group takes away."""
        if group.attention:
            return attention.items(self._module, group, channels)
        return self._items(self._group(group.root, channels))

    def raw(self, root: str, channels: Sequence[int]) -> Any:  # torch-pruning's
        """torch-pruning's own group, for its importance classes."""
        return self._group(root, channels)

    def cut(self, group: ChannelGroup, channels: Sequence[int]) -> None:
        """Take these channels out of every layer of the group."""
        if group.attention:
            attention.cut(self._module, group, channels)
            return
        coupled = self._group(group.root, channels)
        items = self._items(coupled)
        coupled.prune(record_history=False)
        for item in items:
            self._update_heads(item)

    def _group(self, root: str, channels: Sequence[int]) -> Any:  # torch-pruning's
        layer = self._module.get_submodule(root)
        self._allowance.refill()
        cut_outputs = self._graph.get_pruner_of_module(layer).prune_out_channels
        return self._graph.get_pruning_group(layer, cut_outputs, list(channels))

    def _items(self, group: Any) -> tuple[Item, ...]:  # torch-pruning's
        """The members that hold parameters; the rest of the graph is bookkeeping."""
        return tuple(
            Item(
                self._names[member.dep.target.module],
                member.dep.target.module,
                _side(member.dep.handler),
                tuple(member.idxs),
                tuple(member.root_idxs),
            )
            for member in group.items
            if member.dep.target.module in self._names
        )

    def _period(self, item: Item) -> int:
        """Channels of this item that far apart can only go together; 0: each can go alone.

        A grouped convolution must keep as many channels in each of its groups, an attention in each
        of its heads.
        """
        from torch import nn
        from torch.nn.modules.conv import _ConvNd

        layer = item.layer
        if isinstance(layer, _ConvNd) and layer.groups > 1 and item.side != "both":
            return width_of(item) // layer.groups
        if isinstance(layer, nn.GroupNorm):
            return layer.num_channels // layer.num_groups
        if (parts := self._head_parts(item)) > 1:
            return width_of(item) // parts
        return 0

    def _head_parts(self, item: Item) -> int:
        """Into how many equal parts the enclosing attention splits these channels, if any."""
        from torch import nn

        parent = self._parents.get(item.layer)
        heads = getattr(parent, "num_heads", 1)
        if parent is None or not isinstance(item.layer, nn.Linear) or not isinstance(heads, int):
            return 1
        # By convention the last layer is the projection: it reads the heads, the others make them.
        *_, projection = (child for child in parent.children() if isinstance(child, nn.Linear))
        if item.side != ("in" if item.layer is projection else "out"):
            return 1
        if width_of(item) % heads:
            return 1
        fused = item.side == "out" and item.name.endswith(attention.FUSED)
        return 3 * heads if fused else heads

    def _update_heads(self, item: Item) -> None:
        """Write the new width of a head where the attention module keeps it, as timm's does."""
        attributes = getattr(self._parents.get(item.layer), "__dict__", {})
        parts = self._head_parts(item)
        if parts == 1 or item.side != "out" or "head_dim" not in attributes:
            return
        attributes["head_dim"] = width_of(item) // parts
        if "attn_dim" in attributes:
            attributes["attn_dim"] = attributes["num_heads"] * attributes["head_dim"]


def _splits(group: Any) -> bool:  # torch-pruning's
    """Whether a tensor is cut in pieces on the way of these channels."""
    from torch_pruning.ops import OPTYPE

    pieces = (OPTYPE.SPLIT, OPTYPE.SLICE, OPTYPE.UNBIND)
    return any(member.dep.target.type in pieces for member in group.items)


def _side(handler: Any) -> Side:  # torch-pruning's
    from torch_pruning.pruner import function

    if handler in (function.prune_conv_out_channels, function.prune_linear_out_channels):
        return "out"
    if handler in (function.prune_conv_in_channels, function.prune_linear_in_channels):
        return "in"
    return "both"


def _recurrent(module: "nn.Module") -> str:
    """Names the layers that torch-pruning is known not to follow, if there are any."""
    from torch import nn

    found = [
        f"{name} ({type(layer).__name__})"
        for name, layer in module.named_modules()
        if isinstance(layer, nn.RNNBase)
    ]
    return f" through {', '.join(found)}" if found else ""
