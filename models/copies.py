"""Copies of modules, with what a forward has left in them."""

import copy
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import nn

ModuleT = TypeVar("ModuleT", bound="nn.Module")


def copied(module: ModuleT) -> ModuleT:
    """A copy that shares nothing with `module`.

    What a layer computes from its parameters and keeps as an attribute, such as the `weight` of
    `torch.nn.utils.weight_norm`, loses its history in `module`, too: PyTorch copies no tensor that
    has one, and the layer's next forward computes it again.
    """
    import torch

    for layer in module.modules():
        for name, value in vars(layer).items():
            if isinstance(value, torch.Tensor) and value.grad_fn is not None:
                vars(layer)[name] = value.detach()
    return copy.deepcopy(module)
