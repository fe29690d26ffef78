"""The activations that a network holds at once, as a function of its widths: its arena.

A program keeps activations in one piece of memory, the arena, in which a tensor takes the place of
those that nobody reads any more. What is alive at once is found by running the module and watching
its operators. Elementwise ones and batch norms take no memory of their own where they are the last
to read their input: a program computes them in the kernel before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.pruning.costs import PrunableNetwork, WidthCost
from edgekiln.compiler.pruning.layers import Cut, Widths
from edgekiln.compiler.pruning.samples import Samples, first

if TYPE_CHECKING:
    from torch import Tensor, nn

# A cut below the peak brings no budget nearer by itself, and of two equal peaks neither does. So
# cuts are ranked by this norm over time, which is near the peak but sees what lies close to it.
_NORM = 16


@dataclass(frozen=True)
class Lives:
    """Activations in the order of their making, and the operators that they are alive in."""

    sizes: NDArray[np.float64]  # elements of each
    alive: NDArray[np.bool_]  # (operators, activations)


@dataclass(frozen=True)
class LiveBytes:
    """The most elements alive at once: bytes, of an int8 program."""

    live: NDArray[np.float64]  # at each operator, with nothing gone
    of_channel: Mapping[str, NDArray[np.float64]]  # of one channel of each group, likewise

    def left(self, widths: Widths) -> float:
        return float(self._live(widths).max(initial=0.0))

    def saved(self, widths: Widths, cut: Cut) -> float:
        before = self._live(widths)
        after = before - self.of_channel[cut.root] * cut.channels
        largest = before.max(initial=1.0)
        return float(largest * (_norm(before / largest) - _norm(after / largest)))

    def _live(self, widths: Widths) -> NDArray[np.float64]:
        live = self.live.copy()
        for root, gone in widths.gone.items():
            live -= self.of_channel[root] * gone
        return live


def arena(network: PrunableNetwork) -> WidthCost:
    """Trace the network, and once more with half of each group cut, which tells what a channel
    takes of each activation.
    """
    whole = lives(network.module, network.samples)
    of_channel = {}
    for group in network.groups:
        trial, channels = network.without_half(group)
        without = lives(trial, network.samples)
        # The same operators run: the sizes alone differ.
        of_channel[group.root] = whole.alive @ ((whole.sizes - without.sizes) / channels)
    return LiveBytes(whole.alive @ whole.sizes, of_channel)


def _norm(live: NDArray[np.float64]) -> float:
    return float(np.power(np.power(live, _NORM).sum(), 1 / _NORM))


def lives(module: "nn.Module", samples: Samples) -> Lives:
    """Run `module`, which is in evaluation mode from then on, on the first of `samples`, and watch
    what it makes and reads. What the operators make is kept meanwhile.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    record = _Record({_place(each) for each in (*module.parameters(), *module.buffers())})

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
        def __torch_dispatch__(self, operator, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            made = operator(*args, **(kwargs or {}))
            in_place = torch.Tag.pointwise in operator.tags or "batch_norm" in operator.name()
            record.operator(_tensors(tree_leaves(args)), _tensors(tree_leaves(made)), in_place)
            return made

    given = first(samples, 1)
    with torch.no_grad(), Watch():  # type: ignore[no-untyped-call]
        results = module.eval()(*given)
    record.operator(_tensors(tree_leaves(results)), [], in_place=False)
    return record.lives()


class _Record:
    """Which operator makes which activation, and which read it."""

    def __init__(self, constants: set[int]) -> None:
        self._constants = constants
        self._held: list[Tensor] = []  # so that no two of them ever lie at the same place
        self._value: dict[int, int] = {}  # place → activation
        self._sizes: list[int] = []
        self._first: list[int] = []
        self._readers: list[list[int]] = []
        self._into: list[tuple[int, int]] = []  # elementwise: what is made, what it is made of
        self._count = 0

    def operator(self, read: "list[Tensor]", made: "list[Tensor]", in_place: bool) -> None:
        """Note an operator; `in_place`: it may write over what it reads."""
        inputs = [each for each in map(self._of, read) if each is not None]
        for each in inputs:
            self._readers[each].append(self._count)
        # The first result alone: batch norms give statistics, too.
        for tensor in made[:1]:
            value = self._of(tensor)
            if value is None or value in inputs or not in_place:
                continue
            same = (each for each in inputs if self._sizes[each] == self._sizes[value])
            self._into.extend((value, each) for each in same)
        self._count += 1

    def lives(self) -> Lives:
        """What was noted, elementwise results in the place of what they are made of."""
        last = [
            max(each, default=now) for each, now in zip(self._readers, self._first, strict=True)
        ]
        place = list(range(len(self._sizes)))
        for value, source in self._into:
            # Whoever reads it later needs it as it was.
            if place[value] == value and last[source] <= self._first[value]:
                place[value] = place[source]
        alive = np.zeros((self._count, len(self._sizes)), bool)
        for value, now in enumerate(self._first):
            alive[now : last[value] + 1, place[value]] = True
        return Lives(np.array(self._sizes, np.float64), alive)

    def _of(self, tensor: "Tensor") -> int | None:
        """The activation that lies where `tensor` does; None for constants."""
        place = _place(tensor)
        if place in self._constants:
            return None
        if place not in self._value:
            self._held.append(tensor)
            self._value[place] = len(self._sizes)
            self._sizes.append(tensor.numel())
            self._first.append(self._count)
            self._readers.append([])
        return self._value[place]


def _tensors(leaves: "list[object]") -> "list[Tensor]":
    import torch

    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _place(tensor: "Tensor") -> int:
    """What tensors that are views of each other have in common."""
    return int(tensor.untyped_storage().data_ptr())
