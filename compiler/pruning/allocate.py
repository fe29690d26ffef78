"""Where to cut: a greedy choice of channel blocks until every budget is met."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgekiln.compiler.pruning.costs import WidthCost
from edgekiln.compiler.pruning.groups import ChannelGroup
from edgekiln.compiler.pruning.layers import Cut, Widths


@dataclass
class CutCandidate:
    """A group that may be cut, its atoms from the least to the most important."""

    group: ChannelGroup
    atoms: list[tuple[int, ...]]
    scores: list[float]  # of the atoms
    cut: list[int] = field(default_factory=list)  # channels chosen so far

    @classmethod
    def of(cls, group: ChannelGroup, importance: Sequence[float]) -> "CutCandidate":
        """`importance`: one number a channel."""
        scored = sorted((sum(importance[c] for c in atom), atom) for atom in group.atoms)
        atoms, scores = [atom for _, atom in scored], [score for score, _ in scored]
        return cls(group, atoms, scores)

    @property
    def left(self) -> int:
        """Channels not yet chosen."""
        return self.group.width - len(self.cut)

    def block(self, multiple: int) -> int:
        """Atoms to go next: a block of `multiple` channels, or first what exceeds a multiple of it.

        0 when none may go: fewer than one block would be left, or no number of atoms fits.
        """
        size = len(self.group.atoms[0])
        if any(len(atom) != size for atom in self.group.atoms):
            return 0
        channels = self.left % multiple or multiple
        if channels % size:
            channels = math.lcm(multiple, size)
        return channels // size if self.left - channels >= max(multiple, size) else 0

    def take(self, count: int) -> None:
        """Choose the next `count` atoms."""
        for atom in self.atoms[:count]:
            self.cut.extend(atom)
        del self.atoms[:count], self.scores[:count]


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """A block that may go next."""

    candidate: CutCandidate
    count: int  # atoms
    cut: Cut


_Limit = tuple[WidthCost, float]  # a cost, and the most that may be left of it


def allocate(
    candidates: Sequence[CutCandidate],
    widths: Widths,
    goals: Sequence[_Limit],
    *,
    multiple: int,
) -> None:
    """Choose channels, in `CutCandidate.cut`, until no cost is above what may be left of it.

    Step by step the block goes whose importance is lowest for what it saves of the cost that is
    furthest above. The last block may cross the budget, so the result is below it by less than one
    block; it is above it only when nothing more may be cut that saves any of this cost. Widths that
    are not a multiple are first brought to one.

    Args:
        widths: those of the network; afterwards what is left.
        goals: costs, and the most that may be left of each.
    """
    reachable = list(goals)
    while goal := _furthest(reachable, widths):
        choice = _cheapest(candidates, widths, goal[0], multiple)
        if choice is None:
            reachable.remove(goal)
            continue
        widths.take(choice.cut)
        choice.candidate.take(choice.count)


def _furthest(goals: Sequence[_Limit], widths: Widths) -> _Limit | None:
    """The goal that is missed by the largest factor; None where all are met."""
    missed = {
        place: left / most
        for place, (cost, most) in enumerate(goals)
        if (left := cost.left(widths)) > most
    }
    return goals[max(missed, key=missed.__getitem__)] if missed else None


def _cheapest(
    candidates: Sequence[CutCandidate], widths: Widths, cost: WidthCost, multiple: int
) -> _Choice | None:
    """The block whose importance is lowest for what it saves; None where none saves anything."""
    best, best_price = None, math.inf
    for candidate in candidates:
        if count := candidate.block(multiple):
            channels = count * len(candidate.group.atoms[0])
            cut = widths.cut(candidate.group, channels)
            saved = cost.saved(widths, cut)
            price = sum(candidate.scores[:count]) / saved if saved > 0 else math.inf
            if price < best_price:
                best, best_price = _Choice(candidate=candidate, count=count, cut=cut), price
    return best
