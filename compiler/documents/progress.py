"""Progress on stderr: a bar with the time left on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from edgekiln.compiler.documents.console import plain_console
from edgekiln.compiler.pipeline.stage import Advance

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

LINE_EVERY_S = 10.0  # where nobody watches, such as in a CI job's log
_shown: "list[Progress]" = []  # on the terminal just now; it has room for one


@contextmanager
def progress(label: str) -> Iterator[Advance]:
    """Show how far `label` is while the block runs."""
    shown = _bar(label) if sys.stderr.isatty() else lines(label)
    with shown as advance:
        yield advance


@contextmanager
def lines(label: str) -> Iterator[Advance]:
    """Say how far `label` is while the block runs; nothing if that is short."""
    start_s = last_s = time.monotonic()
    last_text = ""

    def advance(done: int, total: int, text: str) -> None:
        nonlocal last_s, last_text
        now_s = time.monotonic()
        news = total == 0 and text != last_text  # e.g. whom we wait for
        if news or now_s - last_s >= LINE_EVERY_S:
            last_s, last_text = now_s, text
            share = f"{done}/{total}  " if total else ""
            print(f"{label}: {share}{text}", file=sys.stderr, flush=True)

    yield advance
    if (took_s := time.monotonic() - start_s) >= 1.0:
        print(f"{label}: {took_s:.1f} s", file=sys.stderr, flush=True)


def notice(text: str) -> None:
    """Say something at once, and for good: above the bar, if one is shown."""
    if _shown:
        _shown[0].console.print(text, highlight=False, soft_wrap=True)
    else:
        print(text, file=sys.stderr, flush=True)


def bar_columns() -> "tuple[ProgressColumn, ...]":
    """What stands beside a bar: how much, how long, and a text."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return (
        TextColumn("{task.description:<9}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )


@contextmanager
def _bar(label: str) -> Iterator[Advance]:
    from rich.progress import Progress

    with ExitStack() as block:
        if not _shown:
            # Transient: when the block ends the bar goes, and what the command prints stands alone.
            console = plain_console(stderr=True)
            whole = Progress(*bar_columns(), console=console, transient=True)
            _shown.append(block.enter_context(whole))
            block.callback(_shown.clear)
        bar = _shown[0]
        task = bar.add_task(label, total=None, text="")
        block.callback(bar.remove_task, task)

        def advance(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total or None, text=text)

        yield advance
