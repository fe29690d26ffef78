"""Some samples as a model takes them, and what it should answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Blend:
    """Samples that are each made of two, and so are to be answered by both.

    Args:
        partner: (N,) the place in the batch of each sample's other one.
        share: how much of a sample is its own, from 0 to 1; its partner's is the rest.
    """

    partner: "Tensor"
    share: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """N samples as a model takes them, and what it should answer.

    Args:
        inputs: (N, …) by name, in the order of `forward`; "" is the name of the only one.
        targets: (N, …) by the name of the head; "" is the name of the only one.
        taught: what each teacher answers, by the names of the outputs; () where it is to be asked.
        blend: how the inputs were mixed with each other; the targets are those of before.
    """

    inputs: "Mapping[str, Tensor]"
    targets: "Mapping[str, Tensor]"
    blend: Blend | None = None
    taught: "Sequence[Mapping[str, Tensor]]" = ()

    @property
    def x(self) -> "Tensor":
        """The first input."""
        return next(iter(self.inputs.values()))

    @property
    def y(self) -> "Tensor":
        """The first target."""
        return next(iter(self.targets.values()))

    @property
    def arguments(self) -> "tuple[Tensor, ...]":
        """The inputs as `forward` takes them."""
        return tuple(self.inputs.values())

    def __len__(self) -> int:
        return len(self.y)

    def with_first(self, x: "Tensor") -> "Batch":
        """The batch with another first input."""
        return replace(self, inputs={**self.inputs, next(iter(self.inputs)): x})

    def to(self, device: "torch.device") -> "Batch":
        """The batch on another device."""
        return replace(
            self,
            inputs={name: tensor.to(device) for name, tensor in self.inputs.items()},
            targets={name: tensor.to(device) for name, tensor in self.targets.items()},
            taught=[{name: t.to(device) for name, t in each.items()} for each in self.taught],
        )


# A user's own changes of training batches: a batch as a model takes it, and what random numbers are
# to be drawn from.
Change = Callable[[Batch, "Generator"], Batch]
