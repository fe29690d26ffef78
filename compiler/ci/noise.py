"""Whether two latencies differ, or the machine was merely restless."""

from dataclasses import dataclass

from edgekiln.compiler.stages.bench import Bench
from edgekiln.runtime.host import Machine


@dataclass(frozen=True, kw_only=True)
class Change:
    """A latency against an earlier one, as fractions of the earlier."""

    slowdown: float  # below 0: faster
    noise: float  # what repeating alone may show

    @property
    def significant(self) -> bool:
        """Whether repeating the measurement alone would not explain it."""
        return abs(self.slowdown) > self.noise


def change(before: Bench, after: Bench) -> Change:
    """Compare two latencies; their noise is the sum of both spreads.

    A spread is the distance of the slowest trial's median from the fastest one's, so a significant
    change means that all trials of one measurement lie to one side of all of the other's. With five
    trials each, chance alone does that in 1 of 126 cases; the sum of the spreads asks for more: a
    gap between them, since two runs differ by more than the trials of one.
    """
    return Change(
        slowdown=after.median_s / before.median_s - 1,
        noise=before.spread + after.spread,
    )


def incomparable(before: Machine, after: Machine) -> str:
    """Why latencies of the two machines must not be compared; "" when they may be."""
    if (before.cpu, before.cores) == (after.cpu, after.cores):
        return ""
    return (
        f"the baseline was measured on {before.cpu} ({before.cores} cores), "
        f"this is {after.cpu} ({after.cores} cores)"
    )
