"""Progress on stderr: a bar with the time left on a terminal, a line now and then elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from edgekiln.compiler.documents.progress import lines
from edgekiln.compiler.pipeline.stage import Advance


@contextmanager
def progress(label: str) -> Iterator[Advance]:
    """Show how far `label` is while the block runs."""
    shown = _bar(label) if sys.stderr.isatty() else lines(label)
    with shown as advance:
        yield advance


@contextmanager
def _bar(label: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None, text="")

        def advance(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total or None, text=text)

        yield advance
