"""The order in which images lie in memory: convolutions are faster where channels are last."""

from typing import TYPE_CHECKING

from edgekiln.models.copies import copied

if TYPE_CHECKING:
    from torch import Tensor, nn

_VECTOR = 8  # floats of AVX2


def takes_channels_last(module: "nn.Module", *inputs: "Tensor") -> bool:
    """Whether a network with 2-d convolutions runs on images in that order.

    One that views its tensors as others, as `x.view(len(x), -1)` does, may take no order but its
    own; it is tried on `inputs`.
    """
    import torch

    convolutions = [each for each in module.modules() if isinstance(each, torch.nn.Conv2d)]
    if not convolutions or not inputs or inputs[0].ndim != 4:
        return False
    if any(map(_destroys_memory, convolutions)):
        return False
    trial = copied(module).eval()
    set_channels_last(trial, to=True)
    first = inputs[0].contiguous(memory_format=torch.channels_last)
    try:
        with torch.no_grad():
            trial(first, *inputs[1:])
    except RuntimeError:
        return False
    return True


def _destroys_memory(layer: "nn.Conv2d") -> bool:
    """Whether oneDNN's gradient of its weights writes behind its buffer in that order: where
    strides pass over pixels between single ones and channels fill no vector, on processors without
    AVX-512 (torch 2.13.0).
    """
    single = all(taps == 1 for taps in layer.kernel_size)
    return single and max(layer.stride) > 1 and layer.in_channels // layer.groups < _VECTOR


def set_channels_last(module: "nn.Module", *, to: bool) -> None:
    """Lay the weights of convolutions in that order, or in the usual one."""
    import torch

    order = torch.channels_last if to else torch.contiguous_format
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=order)
