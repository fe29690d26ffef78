"""Progress as lines on stderr: news at once, the rest now and then."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from edgekiln.compiler.pipeline.stage import Advance

LINE_EVERY_S = 10.0


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
