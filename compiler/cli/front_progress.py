"""Progress of a search: how far it is, and how its front grows."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edgekiln.compiler.documents.console import plain_console
from edgekiln.compiler.documents.progress import bar_columns, lines
from edgekiln.compiler.pipeline.stage import Advance
from edgekiln.compiler.sweep.front import front_rows
from edgekiln.compiler.sweep.measures import Measure
from edgekiln.compiler.sweep.result import TrialRow
from edgekiln.compiler.sweep.run import Seen

_LABEL = "search"
_WIDE, _HIGH = 56, 12  # of the picture, in letters


@contextmanager
def front_progress(objectives: Sequence[Measure]) -> Iterator[tuple[Advance, Seen]]:
    """Show the trials on stderr while the block runs: on a terminal a bar and a picture of the
    front by the first two objectives, elsewhere a line for each point that joins it.
    """
    if not sys.stderr.isatty():
        with lines(_LABEL) as advance:
            yield advance, _told(objectives)
        return
    from rich.console import Group
    from rich.live import Live
    from rich.progress import Progress
    from rich.text import Text

    bar = Progress(*bar_columns())
    task = bar.add_task(_LABEL, total=None, text="")
    with Live(
        bar, console=plain_console(stderr=True), transient=True, refresh_per_second=4
    ) as live:

        def advance(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total or None, text=text)

        def seen(rows: Sequence[TrialRow]) -> None:
            live.update(Group(bar, Text(picture(rows, objectives))))

        yield advance, seen


def _told(objectives: Sequence[Measure]) -> Seen:
    known: set[int] = set()

    def seen(rows: Sequence[TrialRow]) -> None:
        front = front_rows(rows, objectives)
        for row in front:
            if row.number not in known:
                values = ", ".join(each.told(row.measures[each.name]) for each in objectives)
                told = f"trial {row.number} joins the front of {len(front)}: {values}"
                print(f"{_LABEL}: {told}", file=sys.stderr, flush=True)
        known.update(row.number for row in front)

    return seen


def picture(rows: Sequence[TrialRow], objectives: Sequence[Measure]) -> str:
    """Trials by the first two objectives, the first upwards: ● on the front, · beside it."""
    up, along = objectives[0], objectives[1]
    within = [row for row in rows if row.holds]
    if not within:
        return ""
    front = {row.number for row in front_rows(rows, objectives)}
    cells = [[" "] * _WIDE for _ in range(_HIGH)]
    low, high = _ends([row.measures[up.name] for row in within])
    left, right = _ends([row.measures[along.name] for row in within])
    for row in sorted(within, key=lambda each: each.number in front):
        y = round((high - row.measures[up.name]) / (high - low) * (_HIGH - 1))
        x = round((row.measures[along.name] - left) / (right - left) * (_WIDE - 1))
        cells[y][x] = "●" if row.number in front else "·"
    drawn = [f"│{''.join(line)}".rstrip() for line in cells]
    axis = f"{along.name} {along.shown(left)} … {along.shown(right)}"
    return "\n".join([f"{up.name} {up.shown(high)}", *drawn, f"{up.shown(low)} └{'─' * 8} {axis}"])


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The least and the most, apart from each other."""
    low, high = min(values), max(values)
    by = abs(low) * 0.01 or 1.0
    return (low, high) if high > low else (low - by, high + by)
