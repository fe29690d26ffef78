"""Which channels of which layers must be cut together, by torch-pruning's dependency graph."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgekiln.runtime.errors import UnsupportedError

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

    @property
    def producers(self) -> tuple[str, ...]:
        """The convolutions and linear layers whose outputs these channels are."""
        return tuple(item.name for item in self.items if item.side == "out")


class ChannelGraph:
    """The channel groups of a module. Cutting changes that module, in place."""

    def __init__(self, module: "nn.Module", example: "Tensor") -> None:
        """Trace `module` on `example` (1, …); leaves it in evaluation mode.

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
        with torch.enable_grad():
            # In a list: torch-pruning first tries `module(*example)`, which would unpack the batch.
            try:
                self._graph = tp.DependencyGraph().build_dependency(
                    module, example_inputs=[example], verbose=False
                )
            except (ArithmeticError, LookupError, ValueError) as error:  # of a reshape it mistakes
                raise UnsupportedError(
                    f"torch-pruning cannot follow the channels of {type(module).__name__}: {error}",
                    "leave pruning out: --skip prune",
                ) from error

    def groups(self) -> list[ChannelGroup]:
        """All groups of more than one channel that begin at a convolution or linear layer."""
        found = []
        for group in self._graph.get_all_groups(ignored_layers=[]):
            root = group[0].dep.target.module
            width = len(group[0].idxs)
            if width > 1 and root in self._names:
                items = self._items(group)
                atoms = _atoms(width, [(item, self._period(item)) for item in items])
                found.append(ChannelGroup(self._names[root], width, items, atoms))
        return found

    def items(self, root: str, channels: Sequence[int]) -> tuple[Item, ...]:
        """What cutting these channels of the group takes away."""
        return self._items(self._group(root, channels))

    def raw(self, root: str, channels: Sequence[int]) -> Any:
        """torch-pruning's own group, for its importance classes."""
        return self._group(root, channels)

    def cut(self, root: str, channels: Sequence[int]) -> None:
        """Take these channels out of every layer of the group."""
        group = self._group(root, channels)
        items = self._items(group)
        group.prune(record_history=False)
        for item in items:
            self._update_heads(item)

    def _group(self, root: str, channels: Sequence[int]) -> Any:
        layer = self._module.get_submodule(root)
        cut_outputs = self._graph.get_pruner_of_module(layer).prune_out_channels
        return self._graph.get_pruning_group(layer, cut_outputs, list(channels))

    def _items(self, group: Any) -> tuple[Item, ...]:
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
            return _width(item) // layer.groups
        if isinstance(layer, nn.GroupNorm):
            return layer.num_channels // layer.num_groups
        if (parts := self._head_parts(item)) > 1:
            return _width(item) // parts
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
        if _width(item) % heads:
            return 1
        fused = item.side == "out" and item.name.endswith("qkv")  # timm's name for q, k, v in one
        return 3 * heads if fused else heads

    def _update_heads(self, item: Item) -> None:
        """Write the new width of a head where the attention module keeps it, as timm's does."""
        attributes = getattr(self._parents.get(item.layer), "__dict__", {})
        parts = self._head_parts(item)
        if parts == 1 or item.side != "out" or "head_dim" not in attributes:
            return
        attributes["head_dim"] = _width(item) // parts
        if "attn_dim" in attributes:
            attributes["attn_dim"] = attributes["num_heads"] * attributes["head_dim"]


def _side(handler: Any) -> Side:
    from torch_pruning.pruner import function

    if handler in (function.prune_conv_out_channels, function.prune_linear_out_channels):
        return "out"
    if handler in (function.prune_conv_in_channels, function.prune_linear_in_channels):
        return "in"
    return "both"


def _width(item: Item) -> int:
    """The layer's channels on the item's side."""
    from torch import nn

    layer: Any = item.layer
    kind = "features" if isinstance(layer, nn.Linear) else "channels"
    return int(getattr(layer, f"{item.side}_{kind}"))


def _atoms(width: int, constraints: Iterable[tuple[Item, int]]) -> tuple[tuple[int, ...], ...]:
    """Union of all channels that some item's period binds together, in order of their first one."""
    leader = list(range(width))

    def find(channel: int) -> int:
        while leader[channel] != channel:
            channel = leader[channel]
        return channel

    for item, period in constraints:
        first: dict[int, int] = {}  # place within a period → a root channel
        for channel, root in zip(item.channels, item.roots, strict=True):
            if period:
                one, other = find(first.setdefault(channel % period, root)), find(root)
                leader[max(one, other)] = min(one, other)
    atoms: dict[int, list[int]] = defaultdict(list)
    for channel in range(width):
        atoms[find(channel)].append(channel)
    return tuple(map(tuple, atoms.values()))
