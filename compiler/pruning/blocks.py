"""Whole residual blocks that may go: what is left in their place is the identity.

A residual block computes x + f(x), or relu(x + f(x)) of an x that is not negative. With all of its
parameters at zero f is zero and the block is the identity, so it can go; that is what is proven, on
the network at hand, of any module whose output looks like its input. (He et al.: Identity Mappings
in Deep Residual Networks, arXiv:1603.05027; that such blocks can be left out of a trained network:
Veit, Wilber, Belongie, arXiv:1605.06431.)
"""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from edgekiln.compiler.pruning.costs import Goal, PrunableNetwork
from edgekiln.compiler.pruning.proof import Prover
from edgekiln.compiler.pruning.samples import Samples, first
from edgekiln.models.copies import copied
from edgekiln.models.depth import remove_block

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    Loss = Callable[[nn.Module], Tensor]


def removable_blocks(
    module: "nn.Module", samples: Samples, keep: Sequence[str] = ()
) -> tuple[str, ...]:
    """The smallest parts of `module` that are proven to be removable, in its order.

    Args:
        samples, keep: as `survey` takes them.

    Raises:
        UnsupportedError: nothing can be proven of this network.
    """
    prover = Prover(module, samples)
    found: list[str] = []
    # Inner ones first: of two blocks in a row each can go by itself.
    for name in reversed(_identities_at_zero(module, samples)):
        around = any(inner.startswith(f"{name}.") for inner in found)
        if around or any(fnmatchcase(name, pattern) for pattern in keep):
            continue
        if prover.prove_block(name).proven:
            found.append(name)
    return tuple(reversed(found))


def remove_cheapest(
    module: "nn.Module",
    samples: Samples,
    names: Sequence[str],
    losses: "Sequence[Loss]",
    goals: Sequence[Goal],
    *,
    count: int,
) -> tuple[str, ...]:
    """Remove up to `count` blocks out of `module`, in place, but none once all goals are met.

    Each time the one goes whose removal adds least to the loss, for what it saves of the cost that
    is furthest above its goal; then the others are looked at anew.

    Args:
        names: as `removable_blocks` found them.
        losses: one function a batch; the loss is their mean.

    Returns:
        The names of those that went.
    """
    left, removed = list(names), list[str]()
    loss = _mean_loss(module, losses)
    while left and len(removed) < count:
        costs = _costs(module, samples, goals)
        missed = [cost / goal.most for cost, goal in zip(costs, goals, strict=True)]
        worst = max(range(len(goals)), key=missed.__getitem__)
        if missed[worst] <= 1:
            break
        trials: dict[str, tuple[float, float]] = {}  # loss, and the loss added for what is saved
        for name in left:
            trial = _without(module, name)
            after = _mean_loss(trial, losses)
            saved = costs[worst] - _costs(trial, samples, [goals[worst]])[0]
            if saved > 0:
                trials[name] = after, (after - loss) / saved
        if not trials:
            break
        chosen = min(trials, key=lambda name: trials[name][1])
        remove_block(module, chosen)
        left.remove(chosen)
        removed.append(chosen)
        loss = trials[chosen][0]
    return tuple(removed)


def _without(module: "nn.Module", name: str) -> "nn.Module":
    trial = copied(module)
    remove_block(trial, name)
    return trial


def _costs(module: "nn.Module", samples: Samples, goals: Sequence[Goal]) -> list[float]:
    network = PrunableNetwork.of(module, samples, ())
    return [goal.cost_of(network).left(network.widths) for goal in goals]


def _mean_loss(module: "nn.Module", losses: "Sequence[Loss]") -> float:
    import torch

    module.eval()
    with torch.no_grad():
        return sum(float(loss(module)) for loss in losses) / len(losses)


def _identities_at_zero(module: "nn.Module", samples: Samples) -> list[str]:
    """The parts that are called once with a tensor and, with all parameters at zero, give it back.

    Only these are worth a proof: it takes two copies of the whole network.
    """
    import torch

    calls: dict[str, list[object]] = {}  # what each part was called with
    handles: list[RemovableHandle] = []
    for name, part in module.named_modules():
        if not name or not any(True for _ in part.parameters()):
            continue

        def note(_part: "nn.Module", inputs: "tuple[object, ...]", name: str = name) -> None:
            calls.setdefault(name, []).append(inputs[0] if len(inputs) == 1 else None)

        handles.append(part.register_forward_pre_hook(note))
    found = []
    with torch.no_grad():
        try:
            module.eval()(*first(samples, 2))
        finally:
            for handle in handles:
                handle.remove()
        for name, _ in module.named_modules():
            x = calls.get(name, [])
            if len(x) == 1 and isinstance(x[0], torch.Tensor):
                trial = copied(module.get_submodule(name))
                for parameter in trial.parameters():
                    parameter.zero_()
                y = trial(x[0])
                if isinstance(y, torch.Tensor) and torch.equal(y, x[0]):
                    found.append(name)
    return found
