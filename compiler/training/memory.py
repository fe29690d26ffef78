"""The order in which images lie in memory: convolutions are faster where channels are last."""

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def takes_channels_last(module: "nn.Module", *inputs: "Tensor") -> bool:
    """Whether a network with 2-d convolutions runs on images in that order.

    One that views its tensors as others, as `x.view(len(x), -1)` does, may take no order but its
    own; it is tried on `inputs`.
    """
    import torch

    convolves = any(isinstance(each, torch.nn.Conv2d) for each in module.modules())
    if not convolves or not inputs or inputs[0].ndim != 4:
        return False
    trial = copy.deepcopy(module).eval()
    set_channels_last(trial, to=True)
    first = inputs[0].contiguous(memory_format=torch.channels_last)
    try:
        with torch.no_grad():
            trial(first, *inputs[1:])
    except RuntimeError:
        return False
    return True


def set_channels_last(module: "nn.Module", *, to: bool) -> None:
    """Lay the weights of convolutions in that order, or in the usual one."""
    import torch

    order = torch.channels_last if to else torch.contiguous_format
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=order)
