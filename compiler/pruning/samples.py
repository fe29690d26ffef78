"""Samples that a network is run on, of one input or of several, and all that it gives for them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias, Union

from edgekiln.models.module_ends import named_outputs

if TYPE_CHECKING:
    from torch import Tensor, nn

# (N, …) of each input, in the order of `forward`; or of the only one.
Samples: TypeAlias = Union["Tensor", Sequence["Tensor"]]


def first(samples: Samples, count: int) -> "tuple[Tensor, ...]":
    """The first `count` samples of each input."""
    import torch

    inputs = (samples,) if isinstance(samples, torch.Tensor) else samples
    return tuple(each[:count] for each in inputs)


def in_float64(inputs: "Sequence[Tensor]") -> "tuple[Tensor, ...]":
    """The inputs with their floats in float64; whole numbers stay."""
    return tuple(each.double() if each.is_floating_point() else each for each in inputs)


def outputs(module: "nn.Module", inputs: "Sequence[Tensor]") -> "list[Tensor]":
    """Every output for these inputs, in order."""
    return list(named_outputs(module(*inputs), type(module).__name__).values())


def gap(ours: "Sequence[Tensor]", theirs: "Sequence[Tensor]") -> float:
    """The largest difference between outputs of the same shapes."""
    pairs = zip(ours, theirs, strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


def largest(tensors: "Sequence[Tensor]") -> float:
    """The largest magnitude in any of them."""
    return max(float(each.double().abs().max()) for each in tensors)
