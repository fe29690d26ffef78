"""The result of a search as a table for people."""

from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.sweep.front_document import FRONT, PAGE, FrontResult, shown_with_spread
from edgekiln.compiler.sweep.result import failures
from edgekiln.runtime.text import counted

if TYPE_CHECKING:
    from rich.console import Console


def show_front(result: FrontResult, home: Path, console: "Console") -> None:
    """Print the front, what became of the other trials, and where the files lie."""
    from rich.table import Table

    where = f"target {result.target}" + (f" on {result.device}" if result.device else "")
    console.print(f"{result.model}  data {result.data or '-'}  {where}", style="bold")
    table = Table()
    table.add_column("trial", justify="right")
    for measure in result.measures:
        table.add_column(measure.name, justify="right")
    table.add_column("options", overflow="fold")
    for point in result.front:
        values = [
            shown_with_spread(measure, point.values[measure.name]) for measure in result.measures
        ]
        options = "  ".join(f"{name} {text}" for name, text in point.options.items())
        table.add_row(str(point.trial), *values, options)
    console.print(table)
    lines = [_counts(result)]
    lines += [f"failed: {who}: {why}" for why, who in failures(result.trials).items()]
    lines += [f"trial {p.trial} left the front: {p.why}" for p in result.points if not p.on_front]
    lines += [f"note: {text}" for text in result.warnings]
    lines.append(f"wrote {home / FRONT} and {home / PAGE}")
    if result.front:
        lines.append(f"next: edgekiln pick {home} --by {result.objectives[0].name}")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _counts(result: FrontResult) -> str:
    states = [row.state for row in result.trials]
    within = sum(row.holds for row in result.trials)
    beyond = states.count("done") - within
    told = [
        f"{counted(len(states), 'trial')} in {result.spent_s / 60:.0f} min",
        f"{states.count('done')} done",
        *([f"{beyond} of them beyond {' or '.join(result.limits)}"] if beyond else []),
        *([f"{states.count('failed')} failed"] if "failed" in states else []),
        *([f"{states.count('running')} under way elsewhere"] if "running" in states else []),
        f"{len(result.front)} on the front, each rebuilt, measured again and checked",
    ]
    return ", ".join(told)
