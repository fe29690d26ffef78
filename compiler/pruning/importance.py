"""How much a network would miss a channel."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from edgekiln.compiler.pruning import attention
from edgekiln.compiler.pruning.graph import ChannelGraph
from edgekiln.compiler.pruning.samples import Samples
from edgekiln.models.copies import copied

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgekiln.compiler.pruning.groups import ChannelGroup

Criterion = Literal[
    "magnitude", "taylor", "fisher", "gradient-share", "hessian", "batch-norm-scale"
]
Scores = Mapping[str, "Tensor"]  # by parameter name, shaped like the parameter

# A criterion's score of each weight w from its gradient g, of one batch. The gradient of the mean
# over all batches would be no use: it vanishes when training has converged.
_OF_GRADIENT: Mapping[str, "Callable[[Tensor, Tensor], Tensor]"] = {
    # First-order change of the loss without w: Molchanov et al., arXiv:1906.10771.
    "taylor": lambda w, g: (w * g).abs(),
    # The same squared, the diagonal of the empirical Fisher information times w²: arXiv:1801.05787.
    "fisher": lambda w, g: (w * g).square(),
    # A weight's part in all change its layer asks for.
    "gradient-share": lambda _w, g: g.abs() / g.abs().sum().clamp_min(1e-30),
}


def weight_scores(
    module: "nn.Module", criterion: Criterion, losses: "Iterable[Callable[[nn.Module], Tensor]]"
) -> Scores:
    """Score every weight of `module`.

    Args:
        criterion: "magnitude" is w², "batch-norm-scale" the |γ| of batch norms alone, as in network
            slimming (Liu et al., arXiv:1708.06519); these need no losses. "hessian" is ½·w²·h, what
            the loss grows by without w if h is the diagonal of its second derivative (LeCun, Denker
            and Solla: Optimal Brain Damage, 1989).
        losses: one function a batch; the scores are means over them.
    """
    if criterion == "magnitude":
        return {name: p.detach().square() for name, p in module.named_parameters()}
    if criterion == "batch-norm-scale":
        return {name: scale.detach().abs() for name, scale in batch_norm_scales(module).items()}
    trial = copied(module).eval()
    named = dict(trial.named_parameters())
    sums: dict[str, Tensor] = {}
    batches = 0
    for loss in losses:
        batches += 1
        scored = (
            _curvatures(loss(trial), named, seed=batches)
            if criterion == "hessian"
            else _of_gradients(loss(trial), named, _OF_GRADIENT[criterion])
        )
        for name, score in scored.items():
            sums[name] = sums[name] + score if name in sums else score
    means = {name: total / batches for name, total in sums.items()}
    if criterion != "hessian":
        return means
    # Of a saddle's falling directions the second order says nothing about what a cut costs.
    return {
        name: 0.5 * named[name].detach().square() * diagonal.clamp_min(0)
        for name, diagonal in means.items()
    }


def batch_norm_scales(module: "nn.Module") -> "dict[str, nn.Parameter]":
    """The γ of every batch norm that has one, by parameter name."""
    from torch import nn
    from torch.nn.modules.batchnorm import _NormBase

    return {
        f"{name}.weight" if name else "weight": layer.weight
        for name, layer in module.named_modules()
        if isinstance(layer, _NormBase) and isinstance(layer.weight, nn.Parameter)
    }


def _of_gradients(
    loss: "Tensor",
    named: "Mapping[str, nn.Parameter]",
    score: "Callable[[Tensor, Tensor], Tensor]",
) -> "dict[str, Tensor]":
    import torch

    gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    pairs = zip(named.items(), gradients, strict=True)
    return {name: score(p.detach(), g) for (name, p), g in pairs if g is not None}


def _curvatures(
    loss: "Tensor", named: "Mapping[str, nn.Parameter]", *, seed: int
) -> "dict[str, Tensor]":
    """One sample of the diagonal of the loss's second derivative H: z ⊙ Hz of random signs z, whose
    mean is the diagonal (Bekas, Kokiopoulou and Saad, 2007; after Hutchinson).
    """
    import torch

    draw = torch.Generator().manual_seed(seed)
    every = torch.autograd.grad(loss, list(named.values()), create_graph=True, allow_unused=True)
    reached = [
        (name, p, g)
        for (name, p), g in zip(named.items(), every, strict=True)
        if g is not None and g.requires_grad
    ]
    signs = [2.0 * torch.randint(0, 2, p.shape, generator=draw) - 1 for _, p, _ in reached]
    products = torch.autograd.grad(
        [g for _, _, g in reached],
        [p for _, p, _ in reached],
        [sign.to(p) for sign, (_, p, _) in zip(signs, reached, strict=True)],
        allow_unused=True,
    )
    return {
        name: sign.to(p) * product
        for sign, product, (name, p, _) in zip(signs, products, reached, strict=True)
        if product is not None
    }


def channel_importance(
    module: "nn.Module", samples: Samples, groups: "Sequence[ChannelGroup]", scores: Scores
) -> "dict[str, Tensor]":
    """Add up the weights' scores over all that a channel stands for.

    Returns:
        By the root of each channel group, one number a channel, (width,). A group that
        torch-pruning cannot add up is missing, and so is one of whose layers none has a score.
    """
    import torch_pruning as tp

    scored = copied(module)
    graph = ChannelGraph(scored, samples)
    for name, parameter in scored.named_parameters():
        parameter.data = (
            scores[name] if name in scores else parameter.data.new_zeros(parameter.shape)
        )
    # With p = 1 the "magnitude" of a score is the score: only torch-pruning's index maps, through
    # grouped, concatenated and flattened layers, are at work.
    add_up = tp.importance.GroupMagnitudeImportance(p=1, group_reduction="sum", normalizer=None)
    importance = {}
    for group in groups:
        if not any(f"{item.name}.weight" in scores for item in group.items):
            continue
        if group.attention:
            importance[group.root] = attention.importance(group, scores)
            continue
        try:
            total = add_up(graph.raw(group.root, range(group.width)))
        except Exception:  # of layers whose tensors are not where torch-pruning looks for them
            continue
        if total is not None and len(total) >= group.width:
            importance[group.root] = total[: group.width]  # longer behind a flattened image
    return importance
