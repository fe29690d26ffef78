"""AdamW or SGD, with weight decay where it belongs."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from torch import nn

OptimizerName = Literal["adamw", "sgd"]
MOMENTUM = 0.9


def make(
    name: OptimizerName, module: "nn.Module", *, learning_rate: float, weight_decay: float
) -> "torch.optim.Optimizer":
    """An optimizer over the parameters of `module` that want a gradient.

    Biases and normalisation scales (one-dimensional) are not decayed: decay would fight the
    statistics they stand for, not shrink the function.
    """
    import torch

    wanted = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in wanted if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in wanted if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate)
    return torch.optim.SGD(groups, lr=learning_rate, momentum=MOMENTUM, nesterov=True)
