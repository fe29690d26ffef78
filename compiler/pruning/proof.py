"""Proof that cutting channels is the same as zeroing them, on the network at hand.

torch-pruning follows channels through a network by the names of autograd's nodes, and takes what
it does not know for element-wise. Where that is wrong (a shortcut padded with zero channels) it
still cuts, and the network silently computes something else. Zeroing cannot go wrong that way,
since nothing moves. The comparison is in float64: in float32, rounding hides shifted channels. It
is made on samples of the network's own data: noise is no index into an embedding's table.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekiln.compiler.pruning.graph import ChannelGraph
from edgekiln.compiler.pruning.groups import ChannelGroup, Item
from edgekiln.compiler.pruning.samples import (
    Samples,
    first,
    gap,
    in_float64,
    largest,
    outputs,
)
from edgekiln.models.copies import copied
from edgekiln.models.depth import remove_block
from edgekiln.runtime.errors import UnsupportedError, first_line

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

_SAMPLES = 4
TOLERANCE = 1e-9  # of the largest output; float64 sums in another order differ by some 1e-13


@dataclass(frozen=True)
class CutVerdict:
    """Whether a group may be cut, and if not, why."""

    proven: bool
    reason: str = ""
    is_output: bool = False  # the channels are the network's output


class Prover:
    """Tries cuts on copies with random weights: zeros among trained ones could hide a mistake."""

    def __init__(self, module: "nn.Module", samples: Samples) -> None:
        """Run a copy of `module` on a few of `samples` (N, …) of each input, N ≥ 2.

        Raises:
            UnsupportedError: it does not run in float64, or not with random weights.
        """
        import torch

        self._x = in_float64(first(samples, _SAMPLES))
        try:
            self._module = _randomized(module, self._x, torch.Generator().manual_seed(0))
            with torch.no_grad():
                self._untouched = outputs(self._module, self._x)
        except Exception as error:  # whatever the user's own module does
            raise UnsupportedError(
                f"{type(module).__name__} does not run in float64, in which cuts are proven: "
                f"{first_line(error)}",
                hint="leave pruning out: --skip prune",
            ) from error

    def idle(self) -> list[str]:
        """The layers with weights that no output depends on, for these samples at least."""
        import torch
        from torch import nn

        layers = [
            (name, layer.weight)
            for name, layer in self._module.named_modules()
            if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)
            and isinstance(layer.weight, nn.Parameter)
        ]
        with torch.enable_grad():
            total = sum(each.sum() for each in outputs(self._module, self._x) if each.requires_grad)
        if not isinstance(total, torch.Tensor):
            return []
        found = torch.autograd.grad(total, [weight for _, weight in layers], allow_unused=True)
        return [name for (name, _), grad in zip(layers, found, strict=True) if grad is None]

    def prove(self, group: ChannelGroup) -> CutVerdict:
        """Cut half of the group's atoms, chosen at random, and compare with zeroing them."""
        import torch

        count = len(group.atoms)
        if count < 2:
            return CutVerdict(False, "its channels can only go all together")
        order = torch.randperm(count, generator=torch.Generator().manual_seed(count)).tolist()
        channels = sorted(c for atom in order[: count // 2] for c in group.atoms[atom])
        return self.compare(group, cut=channels, zeroed=channels)

    def compare(
        self, group: ChannelGroup, *, cut: Sequence[int], zeroed: Sequence[int]
    ) -> CutVerdict:
        """Cut some channels of a copy, zero some of another, and run both."""

        def zero_channels(module: "nn.Module") -> None:
            zero(ChannelGraph(module, self._x).items(group, zeroed))

        def cut_channels(module: "nn.Module") -> None:
            ChannelGraph(module, self._x).cut(group, cut)

        return self._judge(cut=cut_channels, zero=zero_channels)

    def prove_block(self, name: str) -> CutVerdict:
        """Remove a block from a copy, zero all of its parameters in another, and run both."""

        def zero_block(module: "nn.Module") -> None:
            for parameter in module.get_submodule(name).parameters():
                parameter.zero_()

        return self._judge(cut=lambda module: remove_block(module, name), zero=zero_block)

    def _judge(
        self, *, cut: "Callable[[nn.Module], None]", zero: "Callable[[nn.Module], None]"
    ) -> CutVerdict:
        import torch

        cut_copy, zeroed_copy = copied(self._module), copied(self._module)
        with torch.no_grad():
            try:
                zero(zeroed_copy)
                expected = outputs(zeroed_copy, self._x)
                cut(cut_copy)
                found = outputs(cut_copy, self._x)
            # A wrong cut fails wherever the shapes happen to clash.
            except Exception as error:
                return CutVerdict(False, f"cutting breaks the network: {first_line(error)}")
        if [each.shape for each in found] != [each.shape for each in expected]:
            return CutVerdict(False, "its channels are the network's output", is_output=True)
        tolerance = TOLERANCE * max(1.0, largest(expected))
        if gap(expected, self._untouched) <= tolerance:
            return CutVerdict(False, "zeroing it changes no output, which proves nothing")
        difference = gap(found, expected)
        if difference <= tolerance:
            return CutVerdict(True)
        return CutVerdict(False, f"cutting differs from zeroing by {difference:.2g}")


def zero(items: Iterable[Item]) -> None:
    """Silence channels without moving any: what makes them, and what reads them, becomes 0."""
    import torch
    from torch import nn

    with torch.no_grad():
        for item in items:
            layer, channels = item.layer, list(item.channels)
            if item.side == "in":
                _zero_inputs(layer, channels)
                continue
            outputs = 1 if getattr(layer, "transposed", False) else 0
            for name, axis in (("weight", outputs), ("bias", 0)):
                tensor = getattr(layer, name, None)
                if isinstance(tensor, nn.Parameter) and tensor.ndim > axis:
                    tensor.index_fill_(axis, torch.tensor(channels), 0.0)


def _zero_inputs(layer: "nn.Module", channels: list[int]) -> None:
    import torch

    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    groups = getattr(layer, "groups", 1)
    assert isinstance(groups, int)
    if getattr(layer, "transposed", False):
        weight[channels] = 0.0
        return
    # Input c of a grouped convolution is column c mod (inputs a group) of its group's rows.
    rows, columns = len(weight) // groups, weight.shape[1]
    for channel in channels:
        group, column = divmod(channel, columns)
        weight[group * rows : (group + 1) * rows, column] = 0.0


def _randomized(module: "nn.Module", x: "Sequence[Tensor]", draw: "Generator") -> "nn.Module":
    """A float64 copy with random weights; its batch norms keep signals at the size of `x`."""
    import torch
    from torch.nn.modules.batchnorm import _NormBase

    trial = copied(module).cpu().double()
    with torch.no_grad():
        for parameter in trial.parameters():
            noise = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
            if parameter.ndim > 1:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(1 + 0.3 * noise)
        for layer in trial.modules():
            if isinstance(layer, _NormBase):
                layer.momentum = 1.0  # the statistics become those of `x`
        trial.train()(*x)
    return trial.eval()
