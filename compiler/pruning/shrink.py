"""One round of pruning: prove, rank, allocate, cut."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from edgekiln.compiler.pruning.allocate import Candidate, LayerCost, allocate
from edgekiln.compiler.pruning.graph import ChannelGraph
from edgekiln.compiler.pruning.groups import ChannelGroup
from edgekiln.compiler.pruning.importance import Scores, channel_importance
from edgekiln.compiler.pruning.proof import TOLERANCE, Prover, zero
from edgekiln.compiler.pruning.samples import (
    Samples,
    first,
    gap,
    in_float64,
    largest,
    outputs,
)
from edgekiln.models import cost
from edgekiln.runtime.errors import ConfigError, MismatchError

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Which channel groups of a network may be cut, and why the others may not."""

    proven: tuple[ChannelGroup, ...]
    kept: tuple[str, ...]  # one line a group, for the report


def survey(module: "nn.Module", samples: Samples, keep: Sequence[str] = ()) -> Survey:
    """Prove every channel group of `module` but the output's and those `keep` names.

    Args:
        samples: (N, …) of each input, N ≥ 2, of the data that the network is for, preprocessed.
        keep: patterns of layer names, as in a shell; their outputs stay.

    Raises:
        ConfigError: a pattern matches no layer.
        UnsupportedError: no channel can be followed, or nothing can be proven.
    """
    _check_patterns(module, keep)
    prover = Prover(module, samples)
    followed = ChannelGraph(copy.deepcopy(module), samples).follow()
    proven: list[ChannelGroup] = []
    kept = [
        f"layer {name} kept: its channels cannot be followed: {reason}"
        for name, reason in followed.lost.items()
    ]
    for group in followed.groups:
        if any(fnmatchcase(name, pattern) for name in group.producers for pattern in keep):
            continue
        verdict = prover.prove(group)
        if verdict.proven:
            proven.append(group)
        elif not verdict.is_output:
            kept.append(f"group {group.root} kept: {verdict.reason}")
    return Survey(proven=tuple(proven), kept=(*kept, *_uncuttable(module)))


def shrink(
    module: "nn.Module",
    samples: Samples,
    groups: Sequence[ChannelGroup],
    scores: Scores,
    *,
    budget: int,
    multiple: int,
) -> tuple[str, ...]:
    """Cut channels of `groups` out of `module`, in place, until `budget` MACs are left.

    Args:
        samples: as for `survey`.
        groups: of this module, as `survey` proved them.
        scores: of every weight, as `weight_scores` gives.
        multiple: widths stay, or become, multiples of this.

    Returns:
        One line a group that was kept because it cannot be ranked, for the report.

    Raises:
        MismatchError: the network with all cuts is not the one with all those channels zeroed.
    """
    importance = channel_importance(module, samples, groups, scores)
    costs = cost.count(module, *first(samples, 1))
    candidates = [
        Candidate.of(
            group, importance[group.root].tolist(), _matmul_macs(module, samples, group, costs)
        )
        for group in groups
        if group.root in importance
    ]
    layers = {
        name: LayerCost.of(module.get_submodule(name), uses) for name, uses in costs.uses.items()
    }
    allocate(candidates, layers, macs=costs.macs, budget=budget, multiple=multiple)
    before = copy.deepcopy(module)
    graph = ChannelGraph(module, samples)
    for candidate in candidates:
        if candidate.cut:
            graph.cut(candidate.group.root, sorted(candidate.cut))
    _check_all_cuts(before, module, samples, candidates)
    return tuple(
        f"group {group.root} kept: its channels cannot be ranked"
        for group in groups
        if group.root not in importance
    )


def _matmul_macs(
    module: "nn.Module", samples: Samples, group: ChannelGroup, costs: cost.ModuleCosts
) -> float:
    """What one channel costs in products of two activations, found by cutting half of them."""

    def between_activations(of: "nn.Module", counted: cost.ModuleCosts) -> int:
        return counted.macs - sum(
            uses * _weight(of.get_submodule(name)).numel() for name, uses in counted.uses.items()
        )

    before = between_activations(module, costs)
    if before == 0:
        return 0.0
    trial = copy.deepcopy(module)
    channels = [c for atom in group.atoms[: len(group.atoms) // 2] for c in atom]
    ChannelGraph(trial, samples).cut(group.root, channels)
    after = between_activations(trial, cost.count(trial, *first(samples, 1)))
    return (before - after) / len(channels)


def _weight(layer: "nn.Module") -> "Tensor":
    """A parameter, or what a parametrization computes in its place."""
    import torch

    assert isinstance(layer.weight, torch.Tensor)
    return layer.weight


def _check_all_cuts(
    before: "nn.Module", after: "nn.Module", samples: Samples, candidates: Sequence[Candidate]
) -> None:
    """The groups were proven one by one; this is all of them at once, with the real weights."""
    import torch

    x = in_float64(first(samples, 2))
    zeroed, cut = before.double().eval(), copy.deepcopy(after).double().eval()
    graph = ChannelGraph(zeroed, x)
    for candidate in candidates:
        if candidate.cut:
            zero(graph.items(candidate.group.root, sorted(candidate.cut)))
    with torch.no_grad():
        expected, found = outputs(zeroed, x), outputs(cut, x)
    difference = gap(found, expected)
    if not difference <= TOLERANCE * max(1.0, largest(expected)):
        raise MismatchError(
            f"all cuts together differ from zeroing by {difference:.2g}",
            hint="keep some of the layers: --keep NAME; and please report the model",
        )


def _uncuttable(module: "nn.Module") -> list[str]:
    """Names layers whose weights no cut can reach: only convolutions and linear layers are cut."""
    from torch import nn

    return [
        f"layer {name} kept: {type(layer).__name__} is neither a convolution nor a linear layer"
        for name, layer in module.named_modules()
        if isinstance(layer, nn.RNNBase | nn.Embedding | nn.Bilinear)
    ]


def _check_patterns(module: "nn.Module", keep: Sequence[str]) -> None:
    names = [name for name, _ in module.named_modules()]
    for pattern in keep:
        if not any(fnmatchcase(name, pattern) for name in names):
            shown = ", ".join(name for name, _ in module.named_parameters())[:200]
            raise ConfigError(
                f"--keep {pattern}: no layer has such a name",
                hint=f"there are, among others: {shown}",
            )
