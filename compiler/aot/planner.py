"""Where each buffer lies in the arena: the smallest peak over the program's life.

    bytes                      A buffer is a rectangle: it lies at some height for the calls
      ^  +-----+  +--------+   during which it is alive. Rectangles may be moved up and down, not
      |  |  b  |  |   d    |   sideways, and must not overlap; the plan is where they lie, and its
      |  +-----+--+--+-----+   peak is the height of the pile.
      |  |     a     |
      +--+-----------+----> calls

Offline placement of intervals is NP-hard. Networks have few buffers alive at once, so a first-fit
over good orders nearly always reaches the lower bound (the most bytes alive at one time); where it
does not, a short deterministic local search goes on.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekiln.compiler.ir.program import In, Out, Program, Ref
from edgekiln.runtime.manifest import TensorSpec

ALIGN = 64
# Each step costs a first-fit, O(n²): together about a tenth of a second for 100 buffers.
SEARCH_STEPS = 300


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A buffer and the calls, both inclusive, between which its bytes matter."""

    name: str
    bytes: int
    first: int
    last: int
    further: tuple[tuple[int, int], ...] = ()  # lives, of one that each point of a program has

    @property
    def lives(self) -> tuple[tuple[int, int], ...]:
        """All of them: (first, last)."""
        return ((self.first, self.last), *self.further)

    def overlaps(self, other: "Interval") -> bool:
        """Whether both matter during one call, so that they must not share bytes."""
        return any(
            first <= last_of_other and first_of_other <= last
            for first, last in self.lives
            for first_of_other, last_of_other in other.lives
        )

    def alive(self, call: int) -> bool:
        """Whether its bytes matter during the call."""
        return any(first <= call <= last for first, last in self.lives)

    @property
    def calls(self) -> int:
        """During how many calls it lives."""
        return sum(last - first + 1 for first, last in self.lives)

    @property
    def room(self) -> int:
        """The bytes it takes in the arena."""
        return -(-self.bytes // ALIGN) * ALIGN


@dataclass(frozen=True, kw_only=True)
class ArenaPlan:
    """Offsets by buffer name, multiples of 64. No plan can have a peak below `bound`."""

    offsets: Mapping[str, int]
    peak: int
    bound: int


def lifetimes(program: Program) -> list[Interval]:
    """Each buffer's life: from the first call that names it, which must write it, to the last; that
    of a state is all of the program.
    """
    kept = {state.buffer for state in program.states}
    first: dict[str, int] = dict.fromkeys(kept, 0)
    last: dict[str, int] = {}
    for index, call in enumerate(program.calls):
        written = call.args[len(call.args) - call.writes :]
        # What a call writes comes first: it may be the first to name a buffer.
        for arg in (*written, *call.args[: len(call.args) - call.writes]):
            if not isinstance(arg, Ref):
                continue
            known = arg.buffer in first or any(arg is one for one in written)
            assert known, f"{call.name} reads {arg.buffer} before anyone wrote it"
            first.setdefault(arg.buffer, index)
            last[arg.buffer] = index
    last |= dict.fromkeys(kept, len(program.calls) - 1)
    return [
        Interval(name=b.name, bytes=b.bytes, first=first[b.name], last=last[b.name])
        for b in program.buffers
        if b.name in first
    ]


def nbytes(spec: TensorSpec) -> int:
    """The bytes that an input or output of a program takes."""
    return math.prod(spec.shape) * np.dtype(spec.dtype).itemsize


def edges(program: Program) -> list[Interval]:
    """The lives of inputs and outputs that lie in the arena, too, in each point of the program.

    An input lives until its last reader, an output from its first writer on.
    """
    sizes: dict[In | Out, int] = {In(index=i): nbytes(s) for i, s in enumerate(program.inputs)}
    sizes |= {Out(index=i): nbytes(spec) for i, spec in enumerate(program.outputs)}
    users: dict[In | Out, list[int]] = {edge: [] for edge in sizes}
    for index, call in enumerate(program.calls):
        for arg in call.args:
            if isinstance(arg, In | Out) and arg in users:
                users[arg].append(index)

    def life(edge: In | Out, calls: range) -> tuple[int, int]:
        begin, end = calls.start, calls.stop - 1
        ours = [index for index in users[edge] if index in calls]
        if isinstance(edge, In):
            return begin, max(ours, default=begin)
        return min(ours, default=end), end

    found = []
    for edge, size in sizes.items():
        (first, last), *further = (life(edge, calls) for calls in program.runs)
        found.append(
            Interval(name=str(edge), bytes=size, first=first, last=last, further=tuple(further))
        )
    return found


def plan(intervals: Sequence[Interval], *, search_steps: int = SEARCH_STEPS) -> ArenaPlan:
    """Place every interval. Equal input gives an equal plan.

    Args:
        search_steps: how long to search where no greedy order reaches the bound; 0: not at all.
    """
    bound = _bound(intervals)
    best_order = list(intervals)
    best, peak = _first_fit(best_order)
    for order in _orders(intervals):
        if peak == bound:
            break
        offsets, height = _first_fit(order)
        if height < peak:
            best, peak, best_order = offsets, height, order
    if peak > bound:
        best, peak = _search(best_order, best, peak, bound, search_steps)
    return ArenaPlan(offsets=best, peak=peak, bound=bound)


def _bound(intervals: Sequence[Interval]) -> int:
    """The most bytes alive during one call. The maximum falls on the first call of some life."""
    return max(
        (sum(i.room for i in intervals if i.alive(now)) for now in _starts(intervals)),
        default=0,
    )


def _starts(intervals: Iterable[Interval]) -> set[int]:
    return {first for i in intervals for first, _ in i.lives}


def _orders(intervals: Sequence[Interval]) -> Iterable[list[Interval]]:
    """Orders that are good on different graphs: big, long-lived, or crowded buffers first."""
    yield sorted(intervals, key=lambda i: (-i.room, i.first, i.name))
    yield sorted(intervals, key=lambda i: (-i.room * i.calls, i.name))
    yield sorted(intervals, key=lambda i: (i.first, -i.room, i.name))
    yield sorted(intervals, key=lambda i: (-i.calls, -i.room, i.name))
    # Greedy by breadth (Pisarchyk and Lee, 2020): buffers of the most crowded call first.
    end = max((last for i in intervals for _, last in i.lives), default=-1) + 1
    breadth = [sum(i.room for i in intervals if i.alive(now)) for now in range(end)]
    yield sorted(
        intervals,
        key=lambda i: (
            -max(max(breadth[first : last + 1]) for first, last in i.lives), -i.room, i.name,
        ),
    )  # fmt: skip


def _first_fit(order: Iterable[Interval]) -> tuple[dict[str, int], int]:
    """Put each at the lowest offset free during its whole life. Returns offsets and the peak."""
    placed: list[tuple[int, Interval]] = []
    peak = 0
    for interval in order:
        # From the bottom up, the first gap between these that is high enough.
        busy = sorted((at, at + i.room) for at, i in placed if i.overlaps(interval))
        offset = 0
        for begin, end in busy:
            if offset + interval.room <= begin:
                break
            offset = max(offset, end)
        placed.append((offset, interval))
        peak = max(peak, offset + interval.room)
    return {i.name: at for at, i in placed}, peak


def _search(
    order: list[Interval], best: dict[str, int], peak: int, bound: int, steps: int
) -> tuple[dict[str, int], int]:
    """Move one interval at a time to another place in the order; keep what is not worse."""
    # Seeded: equal programs get equal plans.
    rng = random.Random(0)
    for _ in range(steps):
        if peak == bound:
            break
        trial = list(order)
        trial.insert(rng.randrange(len(trial)), trial.pop(rng.randrange(len(trial))))
        offsets, height = _first_fit(trial)
        # Equal ones, too: from most orders no single move leads down at once.
        if height <= peak:
            order, best, peak = trial, offsets, height
    return best, peak
