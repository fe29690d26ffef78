"""`edgekiln tune`: the fastest register tile of every layer, measured."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekiln.compiler.cli.devices import device_option
from edgekiln.compiler.cli.output import columns, json_option, print_json
from edgekiln.runtime.bench import MAX_TRIALS

if TYPE_CHECKING:
    from edgekiln.compiler.autotune.tune import Tuned
    from edgekiln.compiler.tuning.table import TuningRow

TRIALS = 9


@click.command()
@click.argument("model")
@click.option("--target", default="host", show_default=True, metavar="NAME|FILE.toml",
              help="Tune for this device.")  # fmt: skip
@device_option
@click.option(
    "--trials",
    type=click.IntRange(min=1, max=MAX_TRIALS),
    default=TRIALS,
    show_default=True,
    help="Run at most this many trials of all candidates; three in a row that agree are enough.",
)
@click.option("--compact", is_flag=True, help="Tune what `edgekiln compile --compact` builds.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write to this tuning file, which keeps its other layers (default: TARGET.jsonl).",
)
@json_option
def tune(
    *, model: str, target: str, device: str | None, trials: int, compact: bool, out: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Measure register tiles for the layers of MODEL, a QDQ int8 or a float .onnx.

    `edgekiln compile --tuning FILE` uses the result; the bits that an int8 program computes stay
    the same. On an emulated device, or without a device for a target that cannot run here,
    candidates are not measured but estimated.

    \b
      edgekiln tune model.int8.onnx --target rpi5 --device ssh://pi@10.0.0.7 --out rpi5.jsonl
      edgekiln compile model.int8.onnx --target rpi5 --tuning rpi5.jsonl -o model.lib
    """
    from edgekiln.compiler.autotune.tune import tune as run
    from edgekiln.compiler.build.recipe import Recipe
    from edgekiln.compiler.build.resolve import begin_stage
    from edgekiln.compiler.devices.named import open_device
    from edgekiln.compiler.documents.progress import progress
    from edgekiln.compiler.pipeline.atomic_io import check_place
    from edgekiln.compiler.pipeline.store import Store
    from edgekiln.compiler.tuning import table
    from edgekiln.runtime.files import folder_for
    from edgekiln.targets import profile

    store = Store()
    device_profile = profile.load(target)
    out = out or Path(f"{device_profile.name}.jsonl")
    check_place(out)
    before = table.read(out) if out.exists() else ()
    artifact = begin_stage(store, "compile", model, Recipe())
    with progress("tune") as advance:
        tuned = run(
            artifact.path,
            device_profile,
            device=open_device(device) if device else None,
            trials=trials,
            compact=compact,
            objects=store.compiled,
            advance=advance,
        )
    with folder_for(out):
        table.write(out, table.merged(before, tuned.rows))
    if as_json:
        from edgekiln.compiler.cli.documents import Tuning

        print_json("edgekiln.tune/1", Tuning(tuned=tuned, file=str(out)))
        return
    columns([("LAYER", "CALLS", "DEFAULT", "TUNED", "GAIN", "TILE"), *_lines(tuned)])
    click.echo(
        f"{tuned.method}: {tuned.gain:.3f}× over these layers, {tuned.trials} trials; "
        f"wrote {len(tuned.rows)} rows to {out}"
    )
    if tuned.undecided:
        click.echo(
            f"{tuned.undecided} layers keep the default: what looked faster varied by more than it "
            "won; measure on a quieter machine"
        )


def _lines(tuned: "Tuned") -> list[tuple[str, ...]]:
    return [
        (
            row.layer, str(calls), _cost(row.default_cost, row), _cost(row.tile_cost, row),
            _gain(row), _tile(row),
        )
        for row, calls in zip(tuned.rows, tuned.calls, strict=True)
    ]  # fmt: skip


def _cost(value: float, row: "TuningRow") -> str:
    return f"{value * 1e6:.2f} µs" if row.unit == "s" else f"{value:.0f} cycles"


def _gain(row: "TuningRow") -> str:
    spread = f" ±{row.gain_spread / 2:.1%}" if row.gain_spread else ""
    return f"{row.default_cost / row.tile_cost:.2f}×{spread}"


def _tile(row: "TuningRow") -> str:
    tile = row.tile
    if tile == row.default:
        return "default"
    algorithm = f"{tile.algorithm} " if tile.algorithm != row.default.algorithm else ""
    more = (
        (f" × {tile.splits} splits", tile.splits > 1),
        (f" × {tile.rows} rows", tile.rows > 1),
        (f", {tile.lanes} lanes", tile.lanes),
        (", items first", tile.items_first),
        (", compact", tile.compact),
    )
    shown = "".join(text for text, differs in more if differs)
    return f"{algorithm}{tile.pixels} × {tile.vectors}{shown}"
