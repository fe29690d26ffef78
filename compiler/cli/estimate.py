"""`edgekiln estimate`: what a bundle would cost on a chip that is not here."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekiln.compiler.cli.output import columns, json_option, print_json

if TYPE_CHECKING:
    from edgekiln.compiler.estimate.gpu import GpuCounts
    from edgekiln.compiler.estimate.measured_reference import MeasuredReference
    from edgekiln.compiler.estimate.program import Estimate, LayerEstimate

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("bundle", metavar="BUNDLE|LIB", type=FILE)
@click.option(
    "--target",
    metavar="NAME|FILE.toml",
    help="Take this profile (default: the one that BUNDLE names).",
)
@click.option(
    "--model",
    default="",
    metavar="CPU",
    help="Take LLVM's model of this processor (default: native where BUNDLE runs here, else the "
    "profile's).",
)
@json_option
def estimate(*, bundle: Path, target: str | None, model: str, as_json: bool) -> None:
    """Estimate BUNDLE's cycles, layer by layer, without the chip.

    Executed instructions are counted exactly, under QEMU or on this CPU; llvm-mca models their
    cycles, or those of the core's manual are taken (cortex-m0plus), without caches and memory. A
    bundle that runs here is also measured, so that you see how far to trust the model.

    Of a GPU's program launches, multiplications and the least bytes that a run moves are counted.
    """
    from edgekiln.compiler.documents.progress import progress
    from edgekiln.compiler.estimate import gpu
    from edgekiln.compiler.estimate.cost import METHOD, NATIVE
    from edgekiln.compiler.estimate.measured_reference import measure, runs_here
    from edgekiln.compiler.estimate.program import program
    from edgekiln.runtime.trust import open_trusted
    from edgekiln.targets import profile

    chosen = profile.load(target) if target else None
    opened = open_trusted(bundle)  # its code is linked into a program that runs here
    if counted := gpu.count(opened.spec, chosen):
        _show_counted(counted, as_json=as_json)
        return
    here = runs_here(opened)
    with progress("estimate") as advance:
        # Of this CPU, so that the estimate can be held against what is measured on it.
        model = model or (NATIVE if here else "")
        result = program(opened, target=chosen, model=model, advance=advance)
        reference = measure(bundle, result) if here else None
    if as_json:
        from edgekiln.compiler.cli.documents import Estimated

        print_json("edgekiln.estimate/1", Estimated(estimate=result, measured=reference))
        return
    release = f" of LLVM {result.llvm}" if result.method == METHOD else ""
    click.echo(
        f"{result.program} for {result.target}: {result.method}, model {result.model}{release}"
    )
    click.echo()
    columns([_head(reference), *_rows(result, reference)])
    click.echo()
    for line in _notes(result, reference):
        click.echo(line)


def _show_counted(counted: "GpuCounts", *, as_json: bool) -> None:
    if as_json:
        print_json("edgekiln.gpu-counts/1", counted)
        return
    click.echo(f"{counted.program} for {counted.target}: counted, nothing is measured or modelled")
    click.echo()
    rows = (
        (each.name[-40:], each.op, f"{each.macs:,}" if each.macs else "-", f"{each.result_bytes:,}")
        for each in counted.launches
    )
    columns([("LAUNCH", "OP", "MAC", "RESULT BYTES"), *rows])
    click.echo()
    click.echo(f"{len(counted.launches)} launches a run, {counted.macs:,} multiplications")
    click.echo(
        f"at least {counted.least_moved_bytes:,} bytes moved a run: a bound, with "
        f"{counted.weights_bytes:,} bytes of weights read once, and what lies between layers "
        "written and read once"
    )


def _head(reference: "MeasuredReference | None") -> tuple[str, ...]:
    measured = ("MEASURED", "CYCLES/NS") if reference else ()
    return (
        "LAYER", "OP", "MAC", "INSTRUCTIONS", "EST. CYCLES", "SHARE", "MAC/CYCLE", "OF PEAK",
        *measured,
    )  # fmt: skip


def _rows(result: "Estimate", reference: "MeasuredReference | None") -> list[tuple[str, ...]]:
    layers = [*result.layers, result.total]
    measured: list[float | None] = [None] * len(layers)
    if reference:
        measured = [*reference.layers_s, sum(reference.layers_s)]
    return [_row(layer, result, time_s) for layer, time_s in zip(layers, measured, strict=True)]


def _row(layer: "LayerEstimate", result: "Estimate", measured_s: float | None) -> tuple[str, ...]:
    speed = layer.macs_per_cycle
    measured: tuple[str, ...] = ()
    if measured_s is not None:
        measured = (f"{measured_s * 1e6:,.2f} µs", _rate(layer.cycles, measured_s))
    return (
        # The end of a long name is what tells layers apart.
        layer.name[-40:], layer.op, f"{layer.macs:,}" if layer.macs else "-",
        f"{layer.instructions:,}", f"{layer.cycles:,.0f}",
        f"{layer.cycles / result.total.cycles:.1%}",
        f"{speed:.2f}" if layer.macs else "-",
        f"{speed / result.peak_macs_per_cycle:.0%}" if layer.macs else "-", *measured,
    )  # fmt: skip


def _rate(cycles: float, measured_s: float) -> str:
    """The clock rate, which would be the same for every layer if the model were right."""
    return f"{cycles / measured_s / 1e9:.2f}" if measured_s else "-"


def _notes(result: "Estimate", reference: "MeasuredReference | None") -> list[str]:
    notes = [
        f"peak {result.peak_macs_per_cycle:g} MAC a cycle, by the micro-kernel's dot products",
        f"cycles are {result.method}: no caches, no memory, no branch misses; not a latency",
    ]
    if result.unknown_share:
        share = f"{result.unknown_share:.2%}"
        notes.append(f"{share} of the instructions are not in the model: one cycle each")
    if reference:
        notes.append(
            f"measured here, {reference.cpu}: the model is right where CYCLES/NS is the clock's "
            f"frequency; rank correlation over the layers {reference.rank_correlation:.2f}"
        )
    return notes
