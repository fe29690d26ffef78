"""AdamW, SGD or Muon, with weight decay where it belongs."""

from typing import TYPE_CHECKING, Literal

from edgekiln.compiler.training.checkpoint import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch
    from torch import Tensor, nn

OptimizerName = Literal["adamw", "sgd", "muon"]
MOMENTUM = 0.9
_MUON_MOMENTUM = 0.95  # torch's default


class Optimizers:
    """One or more of torch's optimizers, each over parameters of its own, stepped together.

    Args:
        views: weights, and the parameter of an optimizer in which each is seen as a matrix; the two
            share their memory.
    """

    def __init__(
        self,
        parts: "Sequence[torch.optim.Optimizer]",
        views: "Sequence[tuple[Tensor, Tensor]]" = (),
    ) -> None:
        self.parts, self.views = tuple(parts), tuple(views)

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next steps."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad()
        for weights, _ in self.views:
            weights.grad = None

    def step(self) -> None:
        """Change the weights by their gradients."""
        for weights, matrix in self.views:
            matrix.grad = None if weights.grad is None else _as_matrix(weights.grad, like=weights)
        for part in self.parts:
            part.step()

    def state_dict(self) -> State:
        """Everything `load_state_dict` needs."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, saved: State) -> None:
        """Continue where `saved` stopped."""
        for part, state in zip(self.parts, saved["parts"], strict=True):
            part.load_state_dict(state)


def make(
    name: OptimizerName, module: "nn.Module", *, learning_rate: float, weight_decay: float
) -> Optimizers:
    """An optimizer over the parameters of `module` that want a gradient.

    Biases and normalisation scales (one-dimensional) are not decayed: decay would fight the
    statistics they stand for, not shrink the function.

    Muon (Jordan et al., kellerjordan.github.io/posts/muon) is for the matrices between the first
    and the last layer alone; the rest is AdamW's, and their steps are scaled to be as large (Liu et
    al., arXiv:2502.16982, section 2.2), so that one learning rate suits both.
    """
    import torch

    wanted = [p for p in module.parameters() if p.requires_grad]
    if name == "muon":
        return _muon(module, wanted, learning_rate, weight_decay)
    groups = _decayed(wanted, weight_decay)
    # Fused: all that is done to a tensor in one pass over it.
    if name == "adamw":
        return Optimizers([torch.optim.AdamW(groups, lr=learning_rate, fused=True)])
    sgd = torch.optim.SGD(groups, lr=learning_rate, momentum=MOMENTUM, nesterov=True, fused=True)
    return Optimizers([sgd])


def _muon(
    module: "nn.Module", wanted: "Sequence[Tensor]", learning_rate: float, weight_decay: float
) -> Optimizers:
    import torch

    matrices = list(hidden_matrices(module))
    ours = {id(p) for p in matrices}
    rest = [p for p in wanted if id(p) not in ours]
    views = [(p, torch.nn.Parameter(_as_matrix(p.detach(), like=p))) for p in matrices]
    parts: list[torch.optim.Optimizer] = []
    if views:
        muon = torch.optim.Muon(
            [matrix for _, matrix in views],
            lr=learning_rate,
            weight_decay=weight_decay,
            momentum=_MUON_MOMENTUM,
            adjust_lr_fn="match_rms_adamw",
        )
        parts.append(muon)
    if rest:
        groups = _decayed(rest, weight_decay)
        parts.append(torch.optim.AdamW(groups, lr=learning_rate, fused=True))
    return Optimizers(parts, views)


def _decayed(parameters: "Sequence[Tensor]", weight_decay: float) -> list[dict[str, object]]:
    """Groups of torch's optimizers: those that decay and those that do not, where there are any."""
    groups = (
        ([p for p in parameters if p.ndim > 1], weight_decay),
        ([p for p in parameters if p.ndim <= 1], 0.0),
    )
    return [{"params": params, "weight_decay": decay} for params, decay in groups if params]


def hidden_matrices(module: "nn.Module") -> "Iterator[Tensor]":
    """Weights of linear layers and dense convolutions that want a gradient, but the last layer's.

    A depthwise convolution's weights are no matrix that mixes channels.
    """
    from torch import nn

    layers = [
        each
        for each in module.modules()
        if isinstance(each, nn.Linear | nn.Conv1d | nn.Conv2d)
        and (isinstance(each, nn.Linear) or each.groups == 1)
    ]
    for layer in layers[:-1]:
        if layer.weight.requires_grad:
            yield layer.weight


def _as_matrix(tensor: "Tensor", *, like: "Tensor") -> "Tensor":
    """(outputs, everything else), the columns in the order in which those of `like` lie in memory,
    so that the matrix of weights is a view of them.
    """
    import torch

    last = (
        like.ndim == 4
        and not like.is_contiguous()
        and like.is_contiguous(memory_format=torch.channels_last)
    )
    return (tensor.permute(0, 2, 3, 1) if last else tensor).reshape(len(tensor), -1)
