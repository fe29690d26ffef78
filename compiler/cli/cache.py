"""`edgekiln cache`: the store's housekeeping."""

import time
from dataclasses import replace

import click

from edgekiln.compiler.cli.options import FiniteRange
from edgekiln.compiler.cli.output import columns, json_option, print_json
from edgekiln.compiler.pipeline import gc as housekeeping
from edgekiln.compiler.pipeline.remote_store import SharedStore
from edgekiln.compiler.pipeline.store import Store
from edgekiln.runtime.text import human_bytes

SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Size(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.2
    """A number of bytes, with K, M, G or T for the powers of 1024."""

    name = "size"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        digits = value.rstrip("BbKkMmGgTtiI")
        # 500M, 500MB and 500MiB are the same: all units are powers of 1024.
        unit = value[len(digits) :].upper().removesuffix("B").removesuffix("I")
        try:
            size = int(float(digits) * SIZES[unit])
        except (ValueError, KeyError, OverflowError):
            size = -1
        if size < 0:
            self.fail(f"{value!r} is not a size such as 500M or 2G", param, ctx)
        return size


@click.group()
def cache() -> None:
    """List, clean or locate the store of everything that was built."""


@cache.command()
@json_option
def ls(as_json: bool) -> None:
    """List stored artifacts, the longest unused first."""
    entries = housekeeping.entries(Store())
    objects = housekeeping.objects(Store())
    object_bytes = sum(entry.bytes for entry in objects)
    if as_json:
        from edgekiln.compiler.cli.documents import Artifacts

        shown = Artifacts(artifacts=entries, objects=len(objects), object_bytes=object_bytes)
        print_json("edgekiln.cache/1", shown)
        return
    rows = [("KEY", "STAGE", "KIND", "SIZE", "LAST USED")]
    for entry in entries:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used_s))
        rows.append((entry.key[:12], entry.stage, entry.kind, human_bytes(entry.bytes), used))
    columns(rows)
    total = human_bytes(sum(entry.bytes for entry in entries))
    click.echo(f"{len(entries)} artifacts, {total}")
    click.echo(f"{len(objects)} compiled objects, {human_bytes(object_bytes)}")


@cache.command()
@click.option(
    "--keep-days",
    type=FiniteRange(min=0),
    help="Remove what was not used for this many days (default: 30, without --max-size).",
)
@click.option(
    "--max-size",
    type=Size(),
    help="Then remove the longest unused until at most this is left, in bytes or as 500M, 20G "
    "(default: no limit).",
)
@click.option(
    "--store", "store_url", default="", metavar="URL",
    help="Remove from this shared store, too, what killed uploads left there (default: none).",
)  # fmt: skip
@json_option
def gc(keep_days: float | None, max_size: int | None, store_url: str, as_json: bool) -> None:
    """Remove old artifacts and what killed builds left."""
    if keep_days is None and max_size is None:
        keep_days = 30.0
    shared = SharedStore(store_url) if store_url else None  # what is wrong with it is said first
    swept = housekeeping.sweep(Store(), keep_days, max_size)
    if shared:
        swept = replace(swept, freed_bytes=swept.freed_bytes + shared.remove_unfinished())
    if as_json:
        print_json("edgekiln.cache-gc/1", swept)
        return
    click.echo(
        f"removed {swept.artifacts} artifacts and {swept.objects} compiled objects, "
        f"freed {human_bytes(swept.freed_bytes)}, kept {swept.kept}"
    )
    if swept.spared:
        click.echo(f"{swept.spared} of them are kept only because a build is running")


@cache.command()
def path() -> None:
    """Print where the store lies."""
    click.echo(Store().root)
