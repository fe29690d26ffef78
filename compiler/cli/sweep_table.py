"""The result of a sweep as a table for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekiln.compiler.sweep.measures import Measure
from edgekiln.compiler.sweep.recipe_text import quoted
from edgekiln.compiler.sweep.result import SweepResult, TrialRow, failures
from edgekiln.runtime.text import counted

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 10  # trials; the page and the JSON have all


def show(result: SweepResult, measures: Sequence[Measure], console: "Console") -> None:
    """Print the best trials, what became of the others, and where the recipe lies."""
    from rich.table import Table

    target = f"target {result.target}"
    console.print(f"{result.model}  data {result.data or '-'}  {target}", style="bold")
    table = Table()
    table.add_column("trial", justify="right")
    for measure in measures:
        table.add_column(measure.name, justify="right")
    table.add_column("options", overflow="fold")
    ranked = _ranked(result.trials, measures[0])
    for row in ranked[:SHOWN]:
        values = [_shown(row, measure) for measure in measures]
        options = "  ".join(f"{name} {text}" for name, text in row.options.items())
        best = row.number == result.best
        table.add_row(str(row.number), *values, options, style="bold" if best else None)
    console.print(table)
    console.print(_counts(result, len(ranked)), highlight=False, soft_wrap=True)
    for reason, numbers in failures(result.trials).items():
        console.print(f"failed: {numbers}: {reason}", style="dim", highlight=False, soft_wrap=True)
    if result.test:
        scores = ", ".join(f"{score.label} {score}" for score in result.test)
        line = f"trial {result.best} on the test split: {scores} (n = {result.test[0].n})"
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"wrote {result.recipe} and {result.page}", highlight=False, soft_wrap=True)
    build = (
        f"edgekiln build {quoted(result.built)} --recipe {result.recipe} --target {result.target}"
    )
    console.print(f"next: {build}", highlight=False, soft_wrap=True)


def _ranked(rows: Sequence[TrialRow], objective: Measure) -> list[TrialRow]:
    sign = -1.0 if objective.maximized else 1.0
    done = [row for row in rows if row.state == "done"]
    return sorted(done, key=lambda r: (not r.holds, sign * r.measures[objective.name], r.number))


def _shown(row: TrialRow, measure: Measure) -> str:
    return measure.shown(row.measures[measure.name])


def _counts(result: SweepResult, done: int) -> str:
    states = [row.state for row in result.trials]
    beyond = done - sum(row.holds for row in result.trials)
    told = [
        f"{counted(len(states), 'trial')}: {done} done",
        *([f"{beyond} of them beyond {' or '.join(result.limits)}"] if beyond else []),
        *([f"{states.count('stopped')} stopped early"] if "stopped" in states else []),
        *([f"{states.count('failed')} failed"] if "failed" in states else []),
        *([f"{states.count('running')} under way elsewhere"] if "running" in states else []),
    ]
    if len(states) < result.asked:
        told.append(f"no other values were left of the {result.asked} asked for")
    return ", ".join(told)
