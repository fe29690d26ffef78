"""A network whose narrower forms share its weights, trained together (Yu et al., "Slimmable Neural
Networks", arXiv:1812.08928; "Universally Slimmable Networks", arXiv:1903.05134).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from edgekiln.compiler.pruning.graph import ChannelGraph
from edgekiln.compiler.pruning.groups import ChannelGroup
from edgekiln.compiler.pruning.samples import in_float64
from edgekiln.models.copies import copied
from edgekiln.models.depth import remove_blocks
from edgekiln.models.module_ends import named_outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    # What a narrower form's outputs lose against the widest one's.
    Distance = Callable[["dict[str, Tensor]", "dict[str, Tensor]"], "Tensor"]


class Slimmable(nn.Module):
    """The widest form, whose outputs are this module's. While training, a forward also runs the
    narrowest form and one between, drawn anew (the sandwich rule), and `penalty` is what they lose
    against the widest one's outputs.

    Forms share all parameters but batch norm's biases; each has batch norm's statistics of its own.
    """

    def __init__(
        self, widest: nn.Module, narrower: Sequence["NarrowForm"], distance: "Distance"
    ) -> None:
        super().__init__()
        self.widest = widest
        self.narrower = nn.ModuleList(narrower)
        self._distance = distance
        # Emptied by `penalty`: a module that keeps a graph cannot be copied.
        self._lost: list[Tensor] = []

    def forward(self, *inputs: "Tensor") -> object:
        outputs = self.widest(*inputs)
        self._lost.clear()
        if self.training and torch.is_grad_enabled():
            taught = {name: each.detach() for name, each in _named(outputs).items()}
            shared = dict(self.widest.named_parameters())
            for form in self._drawn():
                self._lost.append(self._distance(_named(form(shared, *inputs)), taught))
        return outputs

    def penalty(self) -> "Tensor":
        """What the narrower forms of the last forward lose."""
        lost, self._lost[:] = list(self._lost), []
        return sum(lost[1:], start=lost[0]) if lost else torch.zeros(())

    def forms(self) -> "list[NarrowForm]":
        """The narrower forms, from wide to narrow."""
        return [form for form in self.narrower if isinstance(form, NarrowForm)]

    def _drawn(self) -> "Iterable[NarrowForm]":
        *between, narrowest = self.forms()
        forms = [narrowest]
        if between:
            forms.append(between[int(torch.randint(len(between), ()))])
        return forms


class NarrowForm(nn.Module):
    """A narrower form. `network` has its shapes, and what it does not share."""

    def __init__(self, network: nn.Module, places: dict[str, "Tensor"]) -> None:
        """`places`: where each element of a shared parameter lies in the widest form's."""
        super().__init__()
        self.network = network
        self._places = places
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name not in places)

    def forward(self, shared: "dict[str, Tensor]", *inputs: "Tensor") -> object:
        """Run with the widest form's parameters, through which gradients flow back."""
        outputs: object = functional_call(self.network, self._parts(shared), inputs)
        return outputs

    def _parts(self, shared: "dict[str, Tensor]") -> "dict[str, Tensor]":
        return {
            name: shared[name].reshape(-1)[place.to(shared[name].device)]
            for name, place in self._places.items()
        }

    def alone(self, widest: nn.Module) -> nn.Module:
        """The form as a network of its own."""
        made = copied(self.network)
        parts = self._parts(dict(widest.named_parameters()))
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                if name in parts:
                    parameter.copy_(parts[name])
                parameter.requires_grad = True
        return made


def narrow_form(
    widest: nn.Module,
    samples: "tuple[Tensor, ...]",
    groups: Sequence[ChannelGroup],
    share: float,
    multiple: int,
    without: Sequence[str] = (),
) -> NarrowForm:
    """The form with the first channels of every group, and without some residual blocks.

    Args:
        groups: of the network without those blocks.
        share: of the channels, in (0, 1); what stays is rounded to whole multiples.
        multiple: of channels, so that they fill the targets' vectors; groups of no more stay whole.
        without: the names of blocks in whose place there is nothing.
    """
    network = copied(widest).double().eval()
    remove_blocks(network, without)
    # The elements' own numbers: what is left of them says where the rest of a tensor was taken.
    with torch.no_grad():
        for parameter in network.parameters():
            numbers = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_(numbers.reshape(parameter.shape))
    graph = ChannelGraph(network, in_float64(samples))
    for group in groups:
        if gone := behind(group, share, multiple):
            graph.cut(group, gone)
    places = {name: p.detach().long() for name, p in network.named_parameters()}
    own = {
        f"{name}.bias" if name else "bias"
        for name, layer in network.named_modules()
        if isinstance(layer, _BatchNorm)
    }
    known = dict(widest.named_parameters())
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(known[name].reshape(-1)[places[name]])
    dtype = next(iter(known.values())).dtype
    return NarrowForm(
        network.to(dtype), {name: at for name, at in places.items() if name not in own}
    )


def left_out(module: nn.Module, blocks: Sequence[str], share: float) -> list[str]:
    """The residual blocks that a shallower form does not have: of a run of alike ones the last,
    from the longest run, so that of each some are left.

    Args:
        blocks: that can be removed, in the order of the network.
        share: of them, that stays, in (0, 1].
    """
    runs: list[list[str]] = []
    before: list[tuple[int, ...]] | None = None
    for name in blocks:
        shapes = [tuple(p.shape) for p in module.get_submodule(name).parameters()]
        if shapes != before:
            runs.append([])
        runs[-1].append(name)
        before = shapes
    gone = []
    for _ in range(len(blocks) - round(share * len(blocks))):
        # Of runs that are as long the last one, whose features are the most refined.
        longest = max(reversed(runs), key=len)
        gone.append(longest.pop())
    return gone


def behind(group: ChannelGroup, share: float, multiple: int) -> list[int]:
    """The channels of a group that a narrower form does not have."""
    wanted = max(multiple, round(group.width * share / multiple) * multiple)
    kept: list[int] = []
    for atom in group.atoms:
        if len(kept) >= wanted:
            break
        kept += atom
    return sorted(set(range(group.width)) - set(kept))


def settle_statistics(network: nn.Module, batches: "Iterable[tuple[Tensor, ...]]") -> None:
    """Give batch norm the mean statistics of these batches; ends in evaluation mode."""
    norms = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    before = [layer.momentum for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # all batches count alike
    network.train()
    with torch.no_grad():
        for inputs in batches:
            network(*inputs)
    for layer, momentum in zip(norms, before, strict=True):
        layer.momentum = momentum
    network.eval()


def _named(outputs: object) -> "dict[str, Tensor]":
    return dict(named_outputs(outputs, "the network"))
