"""How much a network would miss a channel."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from edgekiln.compiler.pruning.graph import ChannelGraph
from edgekiln.compiler.pruning.samples import Samples

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgekiln.compiler.pruning.groups import ChannelGroup

Criterion = Literal["magnitude", "taylor", "fisher", "gradient-share"]
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
        criterion: "magnitude" is w² and needs no losses.
        losses: one function a batch; the scores are means over them.
    """
    if criterion == "magnitude":
        return {name: p.detach().square() for name, p in module.named_parameters()}
    score = _OF_GRADIENT[criterion]
    trial = copy.deepcopy(module).eval()
    named = dict(trial.named_parameters())
    sums: dict[str, Tensor] = {}
    batches = 0
    for loss in losses:
        trial.zero_grad()
        loss(trial).backward()  # type: ignore[no-untyped-call]
        batches += 1
        for name, p in named.items():
            if p.grad is not None:
                scored = score(p.detach(), p.grad)
                sums[name] = sums[name] + scored if name in sums else scored
    return {name: total / batches for name, total in sums.items()}


def channel_importance(
    module: "nn.Module", samples: Samples, groups: "Sequence[ChannelGroup]", scores: Scores
) -> "dict[str, Tensor]":
    """Add up the weights' scores over all that a channel stands for.

    Returns:
        By the root of each channel group, one number a channel, (width,). A group that
        torch-pruning cannot add up is missing.
    """
    import torch_pruning as tp

    scored = copy.deepcopy(module)
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
        try:
            total = add_up(graph.raw(group.root, range(group.width)))
        except Exception:  # of layers whose tensors are not where torch-pruning looks for them
            continue
        if total is not None and len(total) >= group.width:
            importance[group.root] = total[: group.width]  # longer behind a flattened image
    return importance
