"""`edgekiln sensitivity`: which layers of a float model lose most when they become integer."""

from typing import TYPE_CHECKING

import click

from edgekiln.compiler.build.recipe import stage_options
from edgekiln.compiler.cli.options import DOOR_OPTIONS
from edgekiln.compiler.cli.output import columns, json_option, print_json
from edgekiln.compiler.cli.stages import option_of
from edgekiln.compiler.cli.store import store_option

if TYPE_CHECKING:
    from edgekiln.compiler.quantization.ladder_record import LayerSensitivity, SensitivityReport


class SensitivityCommand(click.Command):
    """Its options are the fields of `SensitivityStage`."""

    def __init__(self) -> None:
        super().__init__("sensitivity", help=_HELP, callback=_run)
        self._complete = False

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The stage is imported only when somebody asks for its options."""
        # click asks more than once: to parse, and for the help.
        if not self._complete:
            self._complete = True
            from edgekiln.compiler.stages.sensitivity import SensitivityStage

            self.params.append(click.Argument(["src"], metavar="IN"))
            self.params += [option_of(option) for option in stage_options(SensitivityStage)]
            for add in (*DOOR_OPTIONS, store_option, json_option):
                add(self)
        return super().get_params(ctx)


_HELP = """Show which layers of IN, a float .onnx, lose most when they become integer.

Each layer in turn is quantized alone (or, with --mode all-but, left out), and the outputs are held
against the float model's on validation samples: the ratio of signal to noise, and, with labels,
what the task's metric loses. The most sensitive layers stand first.
"""


def _run(
    src: str,
    store_url: str,
    as_json: bool,
    shape: tuple[str, ...],
    constant: tuple[str, ...],
    state: tuple[str, ...],
    no_state: bool,
    stream: str,
    **options: object,  # of the types of the stage's fields
) -> None:
    import json

    from edgekiln.compiler.build.recipe import Recipe
    from edgekiln.compiler.build.resolve import begin_stage
    from edgekiln.compiler.documents.progress import progress
    from edgekiln.compiler.pipeline.remote_store import open_store
    from edgekiln.compiler.quantization.ladder_record import SensitivityReport
    from edgekiln.compiler.stages.sensitivity import SensitivityStage
    from edgekiln.runtime import codec

    store = open_store(store_url)
    recipe = Recipe(
        data=str(options["data"] or ""),
        shape=shape,
        constant=constant,
        state=state,
        no_state=no_state,
        stream=stream,
        options={"sensitivity": options},
    )
    artifact = begin_stage(store, "quantize", src, recipe)
    with progress("sensitivity") as advance:
        made = store.run(recipe.stage(SensitivityStage, {}, {}), artifact, None, advance)
    report = codec.decode(SensitivityReport, json.loads(made.path.read_text(encoding="utf-8")))
    if as_json:
        print_json("edgekiln.sensitivity/1", report)
        return
    what = "alone is integer" if report.mode == "only" else "alone is float"
    click.echo(
        f"{report.samples:,} validation samples; SQNR {report.sqnr_db:.1f} dB with all layers "
        f"integer, and where the layer {what}:\n"
    )
    columns([_head(report), *(_row(layer, report) for layer in report.layers)])


def _head(report: "SensitivityReport") -> tuple[str, ...]:
    lost = (f"{label.upper()}, {unit.upper()}" for label, unit in report.loss_units.items())
    return ("LAYER", "OP", "MAC", "SQNR", *lost)


def _row(layer: "LayerSensitivity", report: "SensitivityReport") -> tuple[str, ...]:
    lost = (layer.lost[label] for label in report.loss_units)
    return (
        # The end of a long name is what tells layers apart.
        layer.name[-40:],
        layer.op,
        f"{layer.macs:,}" if layer.macs else "-",
        f"{layer.sqnr_db:.1f} dB",
        *("-" if each is None else f"{0.0 - each:+.2f}" for each in lost),
    )


sensitivity = SensitivityCommand()
