"""One round of pruning: prove, rank, allocate, cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from edgekiln.compiler.pruning.allocate import CutCandidate, allocate
from edgekiln.compiler.pruning.attention import head_groups
from edgekiln.compiler.pruning.costs import Goal, PrunableNetwork
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
from edgekiln.models.copies import copied
from edgekiln.runtime.errors import ConfigError, MismatchError

if TYPE_CHECKING:
    from torch import nn

_SHOWN = 12  # names in a hint, at most


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Which channel groups of a network may be cut, and why the others may not."""

    proven: tuple[ChannelGroup, ...]
    kept: tuple[str, ...]  # one line a group, for the report


def survey(
    module: "nn.Module", samples: Samples, keep: Sequence[str] = (), *, whole_heads: bool = False
) -> Survey:
    """Prove every channel group of `module` but the output's and those `keep` names.

    Args:
        samples: (N, …) of each input, N ≥ 2, of the data that the network is for, preprocessed.
        keep: patterns of layer names, as in a shell; their outputs stay.
        whole_heads: attention loses heads where that is proven; else all of its heads get narrower.

    Raises:
        ConfigError: a pattern matches no layer.
        UnsupportedError: no channel can be followed, or nothing can be proven.
    """
    _check_patterns(module, keep)
    prover = Prover(module, samples)
    followed = ChannelGraph(copied(module), samples).follow()
    proven: list[ChannelGroup] = []
    kept = [
        f"layer {name} kept: its channels cannot be followed: {reason}"
        for name, reason in followed.lost.items()
    ]
    if whole_heads:
        heads = [group for group in head_groups(module) if not _is_kept(group, keep)]
        proven = [group for group in heads if prover.prove(group).proven]
    # Their channels are cut with their heads, and not alone.
    of_heads = {name for group in proven for name in group.producers}
    for group in followed.groups:
        if _is_kept(group, keep) or not of_heads.isdisjoint(group.producers):
            continue
        verdict = prover.prove(group)
        if verdict.proven:
            proven.append(group)
        elif not verdict.is_output:
            kept.append(f"group {group.root} kept: {verdict.reason}")
    unused = "it does not run on these samples, and may not fit what is cut around it"
    kept += [f"layer {name} kept: {unused}" for name in prover.idle()]
    return Survey(proven=tuple(proven), kept=(*kept, *_uncuttable(module)))


def _is_kept(group: ChannelGroup, keep: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in group.producers for pattern in keep)


def shrink(
    module: "nn.Module",
    samples: Samples,
    groups: Sequence[ChannelGroup],
    scores: Scores,
    *,
    goals: Sequence[Goal],
    multiple: int,
) -> tuple[str, ...]:
    """Cut channels of `groups` out of `module`, in place, until all `goals` are met.

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
    candidates = [
        CutCandidate.of(group, importance[group.root].tolist())
        for group in groups
        if group.root in importance
    ]
    network = PrunableNetwork.of(module, samples, [candidate.group for candidate in candidates])
    limits = [(goal.cost_of(network), goal.most) for goal in goals]
    allocate(candidates, network.widths, limits, multiple=multiple)
    cut = [(each.group, sorted(each.cut)) for each in candidates if each.cut]
    cut_all(module, samples, cut)
    return tuple(
        f"group {group.root} kept: its channels cannot be ranked"
        for group in groups
        if group.root not in importance
    )


def cut_all(
    module: "nn.Module", samples: Samples, cuts: Sequence[tuple[ChannelGroup, Sequence[int]]]
) -> None:
    """Cut these channels of these groups out of `module`, in place.

    Raises:
        MismatchError: as `shrink`.
    """
    before = copied(module)
    graph = ChannelGraph(module, samples)
    for group, channels in cuts:
        graph.cut(group, channels)
    _check_all_cuts(before, module, samples, cuts)


def _check_all_cuts(
    before: "nn.Module",
    after: "nn.Module",
    samples: Samples,
    cuts: Sequence[tuple[ChannelGroup, Sequence[int]]],
) -> None:
    """The groups were proven one by one; this is all of them at once, with the real weights."""
    import torch

    x = in_float64(first(samples, 2))
    zeroed, cut = before.double().eval(), copied(after).double().eval()
    graph = ChannelGraph(zeroed, x)
    for group, channels in cuts:
        zero(graph.items(group, channels))
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
            layers = [n for n, layer in module.named_modules() if n and not [*layer.children()]]
            more = ", …" if len(layers) > _SHOWN else ""
            raise ConfigError(
                f"--keep {pattern}: no layer has such a name",
                hint=f"layers are: {', '.join(layers[:_SHOWN])}{more}",
            )
