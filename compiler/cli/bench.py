"""`edgekiln bench`: how fast a bundle is here, with ONNX Runtime beside it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekiln.compiler.cli.output import columns, json_option, print_json
from edgekiln.compiler.report import human_bytes
from edgekiln.runtime.bench import MIN_SECONDS, TRIALS

if TYPE_CHECKING:
    from edgekiln.runtime.results import BenchResult, LayerTime

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("bundle", type=FILE)
@click.option(
    "--onnx",
    "models",
    type=FILE,
    multiple=True,
    metavar="FILE.onnx",
    help="Model for ONNX Runtime (default: the bundle's own, where the store still has them).",
)
@click.option("--trials", default=TRIALS, show_default=True, help="Trials of each engine, in turn.")
@click.option("--min-seconds", default=MIN_SECONDS, show_default=True, help="Length of a trial.")
@click.option("--threads", default=1, show_default=True, help="They share one inference.")
@click.option("--cpu", type=int, help="Pin the threads to this CPU and those behind it.")
@click.option("--profile", is_flag=True, help="Time every layer, too.")
@json_option
def bench(
    *, bundle: Path, models: tuple[Path, ...], trials: int, min_seconds: float, threads: int,
    cpu: int | None, profile: bool, as_json: bool,
) -> None:  # fmt: skip
    """Measure BUNDLE and, beside it, ONNX Runtime.

    Both run on the same threads, trial by trial in turn; the bundle by its own executable.
    """
    from edgekiln.compiler.origin import models_of
    from edgekiln.runtime.bench import compare

    beside = models or models_of(bundle)
    results = compare(
        bundle,
        beside,
        trials=trials,
        min_seconds=min_seconds,
        threads=threads,
        profile=profile,
        cpu=cpu,
    )
    if as_json:
        from edgekiln.compiler.cli.documents import Benches

        print_json("edgekiln.bench-set/1", Benches(results=tuple(results)))
        return
    show(results)
    if not beside:
        click.echo("ONNX Runtime: the store no longer has the model; give it by --onnx FILE")


def show(results: "list[BenchResult]") -> None:
    """The machine, a line an engine, then the layers."""
    ours = results[0]
    machine = ours.machine
    governor = machine.governor or "set by the hypervisor"
    load = "unknown" if ours.before.load is None else f"{ours.before.load:g}"
    click.echo(f"{machine.cpu}, {machine.cores} cores, governor {governor}, load {load}")
    pinned = f"pinned to {', '.join(map(str, ours.cpus))}" if ours.cpus else "not pinned"
    click.echo(f"threads {ours.threads}, {pinned}; {len(ours.trials)} trials each, in turn\n")
    heading = ("ENGINE", "MEDIAN", "P90", "P99", "MIN", "SPREAD", "FIRST", "PEAK RSS", "× OURS")
    rows: list[tuple[str, ...]] = [heading]
    for each in results:
        times = (each.median_s, each.p90_s, each.p99_s, each.min_s)
        rows.append(
            (
                f"{each.engine} {each.precision}",
                *(f"{time_s * 1e6:,.1f} µs" for time_s in times),
                f"{each.spread:.1%}",
                f"{each.first_inference_s * 1e6:,.0f} µs",
                human_bytes(each.peak_resident_bytes),
                f"{each.median_s / ours.median_s:.2f}",
            )
        )
    columns(rows)
    click.echo(
        f"\nprogram {human_bytes(ours.program_bytes)}, arena {human_bytes(ours.arena_bytes or 0)}"
    )
    for warning in dict.fromkeys(warning for each in results for warning in each.warnings):
        click.echo(f"warning: {warning}")
    if ours.layers:
        click.echo()
        show_layers(ours.layers)


def show_layers(layers: "tuple[LayerTime, ...]") -> None:
    total_s = sum(layer.latency_s for layer in layers) or 1.0
    rows = [("LAYER", "OP", "TIME", "SHARE", "GMAC/S")]
    for layer in layers:
        speed = layer.macs / layer.latency_s / 1e9 if layer.macs and layer.latency_s else None
        rows.append(
            (
                layer.name,
                layer.op,
                f"{layer.latency_s * 1e6:,.2f} µs",
                f"{layer.latency_s / total_s:.1%}",
                "-" if speed is None else f"{speed:.1f}",
            )
        )
    columns(rows)
