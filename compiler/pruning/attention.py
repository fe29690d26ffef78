"""Whole heads of attention modules as groups that can be cut.

torch-pruning follows channels, and of a head's channels it can only make every head narrower. A
head is more: the part of the queries, keys, values and of the projection that it alone uses, and a
number in the module. An attention module is one that has `num_heads` and linear layers of which, by
convention, the last is the projection and the others make queries, keys and values.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekiln.compiler.pruning.groups import ChannelGroup, Item, Side, weight_of
from edgekiln.models.widths import HEAD_ATTRIBUTES

if TYPE_CHECKING:
    from torch import Tensor, nn

FUSED = "qkv"  # timm's name for queries, keys and values in one layer


@dataclass(frozen=True, kw_only=True)
class _HeadSide:
    """A linear layer of an attention module, and where the channels of a head lie in it."""

    name: str
    layer: "nn.Linear"
    makes: bool  # queries, keys or values; else it reads the heads
    parts: int  # 3 where queries, keys and values are one layer
    width: int  # channels of a head in a part

    def channels(self, heads: Sequence[int], count: int) -> list[int]:
        """Those of some heads, of `count` that there are."""
        return [
            (part * count + head) * self.width + place
            for part in range(self.parts)
            for head in heads
            for place in range(self.width)
        ]


def head_groups(module: "nn.Module") -> Iterator[ChannelGroup]:
    """A group for each attention module of several heads; its channels are its first layer's, its
    atoms are the heads.
    """
    for name, child in module.named_modules():
        heads = child.__dict__.get("num_heads")
        sides = _sides(name, child, heads) if type(heads) is int and heads > 1 else []
        if not sides:
            continue
        width = sides[0].width
        atoms = tuple(tuple(range(head * width, (head + 1) * width)) for head in range(heads))
        group = ChannelGroup(sides[0].name, heads * width, (), atoms, attention=name)
        every = items(module, group, range(group.width))
        yield ChannelGroup(group.root, group.width, every, atoms, attention=name)


def items(module: "nn.Module", group: ChannelGroup, channels: Sequence[int]) -> tuple[Item, ...]:
    """What cutting the heads of these channels takes away."""
    width = len(group.atoms[0])
    heads = _heads_of(group, channels)
    _, sides = _attention(module, group)
    found = []
    for side in sides:
        lost = side.channels(heads, len(group.atoms))
        # The same place within the head, as far as the root's heads are as wide.
        roots = [
            head * width + place % width
            for _ in range(side.parts)
            for head in heads
            for place in range(side.width)
        ]
        where: Side = "out" if side.makes else "in"
        found.append(Item(side.name, side.layer, where, tuple(lost), tuple(roots)))
    return tuple(found)


def cut(module: "nn.Module", group: ChannelGroup, channels: Sequence[int]) -> None:
    """Take the heads of these channels out of the module, in place."""
    import torch
    from torch import nn

    gone = _heads_of(group, channels)
    left = [head for head in range(len(group.atoms)) if head not in gone]
    attention, sides = _attention(module, group)
    for side in sides:
        kept = torch.tensor(side.channels(left, len(group.atoms)))
        axis = 0 if side.makes else 1
        for name, parameter in list(side.layer.named_parameters(recurse=False)):
            if parameter.ndim > axis:
                smaller = parameter.detach().index_select(axis, kept).clone()
                wanted = parameter.requires_grad
                setattr(side.layer, name, nn.Parameter(smaller, requires_grad=wanted))
        side.layer.out_features, side.layer.in_features = side.layer.weight.shape
    attributes = attention.__dict__
    attributes["num_heads"] = len(left)
    assert set(HEAD_ATTRIBUTES) >= {"num_heads", "attn_dim"}, "what a saved module remembers"
    if "attn_dim" in attributes:
        attributes["attn_dim"] = sides[-1].layer.in_features


def importance(group: ChannelGroup, scores: "Mapping[str, Tensor]") -> "Tensor":
    """The scores of the weights that each channel stands for, added up, (width,).

    Args:
        scores: by parameter name; a weight without one counts nothing.
    """
    import torch

    total = torch.zeros(group.width)
    for item in group.items:
        of_weight = scores.get(f"{item.name}.weight")
        if of_weight is not None:
            of_channel = of_weight.sum(1 if item.side == "out" else 0)
            total.index_add_(
                0, torch.tensor(item.roots), of_channel[list(item.channels)].float().cpu()
            )
    return total


def _heads_of(group: ChannelGroup, channels: Sequence[int]) -> list[int]:
    width = len(group.atoms[0])
    return sorted({channel // width for channel in channels})


def _attention(module: "nn.Module", group: ChannelGroup) -> "tuple[nn.Module, list[_HeadSide]]":
    attention = module.get_submodule(group.attention)
    return attention, _sides(group.attention, attention, len(group.atoms))


def _sides(name: str, attention: "nn.Module", heads: int) -> list[_HeadSide]:
    """Its linear layers, the projection last; none where they do not divide into heads."""
    from torch import nn

    children = attention.named_children()
    linear = [(own, child) for own, child in children if isinstance(child, nn.Linear)]
    sides = []
    for place, (own, layer) in enumerate(linear):
        makes = place < len(linear) - 1
        parts = 3 if makes and own == FUSED else 1
        channels = weight_of(layer).shape[0 if makes else 1]
        if channels % (heads * parts):
            return []
        sides.append(
            _HeadSide(
                name=f"{name}.{own}" if name else own,
                layer=layer,
                makes=makes,
                parts=parts,
                width=channels // (heads * parts),
            )
        )
    return sides if len(sides) > 1 else []
