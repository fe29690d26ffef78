"""What `edgekiln sensitivity` found, as tables: of a module's parts, or of a model's layers."""

from collections.abc import Iterator

import click

from edgekiln.compiler.cli.output import columns
from edgekiln.compiler.quantization.ladder_record import LayerSensitivity, SensitivityReport
from edgekiln.compiler.stages.prune_sensitivity import PruneSensitivity, SensitivityCut


def show_parts(report: PruneSensitivity) -> None:
    """Print what a module is worth without each of its channel groups and blocks."""
    for line in report.kept:
        click.echo(f"note: {line}", err=True)
    head = ("PART", "CHANNELS", "CUT", "MACS SAVED", "LOSS", *map(str.upper, report.metrics))
    columns([head, *_cut_rows(report)])
    whole = ", ".join(f"{name} {value:.4g}" for name, value in report.metrics.items())
    click.echo(
        f"whole network: loss {report.loss:.4g}{f', {whole}' if whole else ''}, on "
        f"{report.samples} validation samples"
    )


def _cut_rows(report: PruneSensitivity) -> Iterator[tuple[str, ...]]:
    for part in report.parts:
        for cut in part.cuts:
            gone = "whole" if part.is_block else f"{cut.part:.0%} ({cut.channels})"
            channels = "block" if part.is_block else str(part.channels)
            saved = f"{cut.macs_saved / report.macs:.1%}" if report.macs else "-"
            yield (part.name, channels, gone, saved, *_values(cut, report))


def _values(cut: SensitivityCut, report: PruneSensitivity) -> tuple[str, ...]:
    changes = (
        f"{cut.metrics[name]:.4g} ({cut.metrics[name] - value:+.4g})"
        for name, value in report.metrics.items()
    )
    return (f"{cut.loss:.4g}", *changes)


def show_layers(report: SensitivityReport) -> None:
    """Print what a float model loses where each layer alone is integer, or float."""
    what = "alone is integer" if report.mode == "only" else "alone is float"
    click.echo(
        f"{report.samples:,} validation samples; SQNR {report.sqnr_db:.1f} dB with all layers "
        f"integer, and where the layer {what}:\n"
    )
    lost = (f"{label.upper()}, {unit.upper()}" for label, unit in report.loss_units.items())
    head = ("LAYER", "OP", "MAC", "SQNR", *lost)
    columns([head, *(_layer_row(layer, report) for layer in report.layers)])


def _layer_row(layer: LayerSensitivity, report: SensitivityReport) -> tuple[str, ...]:
    lost = (layer.lost[label] for label in report.loss_units)
    return (
        # The end of a long name is what tells layers apart.
        layer.name[-40:],
        layer.op,
        f"{layer.macs:,}" if layer.macs else "-",
        f"{layer.sqnr_db:.1f} dB",
        *("-" if each is None else f"{0.0 - each:+.2f}" for each in lost),
    )
