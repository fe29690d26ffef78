"""`edgekiln verify`: what each step of a build changed, and whether the program is exact."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekiln.compiler.cli.options import DOOR_OPTIONS, SEED, allow_factory_option, point_option
from edgekiln.compiler.cli.output import columns, json_option, print_json

if TYPE_CHECKING:
    from edgekiln.compiler.evaluation.layerwise import Gap, Verification
    from edgekiln.compiler.evaluation.parity import Link

_FILE = click.Path(path_type=Path)


def _door_options(command: click.Command) -> click.Command:
    for add in DOOR_OPTIONS:
        add(command)
    return command


@_door_options
@click.command()
@click.argument("program", metavar="BUNDLE|LIB", type=_FILE)
@click.option(
    "--model",
    metavar="FILE",
    type=_FILE,
    help="Compare with this .onnx, .tflite or .pt2 model (default: the stored one it is made of).",
)
@click.option(
    "--onnx",
    "float_model",
    metavar="FILE.onnx",
    type=_FILE,
    help="Show, too, what quantizing this float model changed (default: none).",
)
@click.option(
    "--module",
    metavar="FILE.pt",
    type=_FILE,
    help="Show, too, what exporting this module changed (default: none).",
)
@click.option(
    "--data",
    default="",
    help="Compare on this data set, a name or a path (default: the model's own).",
)
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Split the data set by this seed."
)
@click.option(
    "--samples",
    default=64,
    show_default=True,
    type=click.IntRange(min=1),
    help="Compare on this many held-out samples.",
)
@point_option
@allow_factory_option
@json_option
def verify(
    *, program: Path, model: Path | None, float_model: Path | None, module: Path | None,
    data: str, seed: int, samples: int, point: str, allow_factory: tuple[str, ...], as_json: bool,
    shape: tuple[str, ...], constant: tuple[str, ...], state: tuple[str, ...], no_state: bool,
    stream: str,
) -> None:  # fmt: skip
    """Compare a program with ONNX Runtime, per output and per layer.

    Exit code 7 when a layer differs by more than rounding ties, and exact arithmetic does not say
    that it is ONNX Runtime which is off.
    """
    from edgekiln.compiler.build.recipe import Recipe
    from edgekiln.compiler.build.resolve import given_model, kind_of
    from edgekiln.compiler.evaluation import parity
    from edgekiln.compiler.evaluation.layerwise import verify as run
    from edgekiln.compiler.pipeline.places import data_place
    from edgekiln.compiler.pipeline.source_models import source_model
    from edgekiln.compiler.pipeline.store import Store
    from edgekiln.runtime.runner import AotRunner
    from edgekiln.runtime.trust import open_trusted

    opened = open_trusted(program)  # once: all that is told is of these bytes
    runner = AotRunner.of(opened)
    runner.set_point(point or 0)
    door = Recipe(shape=shape, constant=constant, state=state, no_state=no_state, stream=stream)
    source = given_model(model, door) if model else source_model(runner.spec)
    model = source.path
    batches = parity.batches_for(
        runner.spec, model, data=data or data_place(Store(), source.chain), seed=seed,
        samples=samples, demanded=bool(data),
    )  # fmt: skip
    steps: list[tuple[str, parity.Model]] = []
    if module:
        steps.append(("PyTorch", parity.torch_model(module, allow_factory)))
    quantized = kind_of(model) == "onnx-int8"
    if float_model and quantized:
        steps.append(("float ONNX", parity.onnx_model(float_model)))
    steps.append(("int8 ONNX" if quantized else "float ONNX", parity.onnx_model(model)))
    steps.append(("program", parity.program_model(runner)))
    with source.in_its_users_words():
        # First: of another model it says that it is another one.
        result = run(opened, model, batches, point)
        links = parity.links(steps, batches)
    source.require_unchanged()
    if as_json:
        from edgekiln.compiler.cli.documents import Verified

        document = Verified(
            chain=tuple(links),
            samples=result.samples,
            layers=result.layers,
            outputs=result.outputs,
            agreement=result.agreement,
            unchecked=result.unchecked,
            judged=result.judged,
            identical=result.identical,
        )
        print_json("edgekiln.verify/1", document)
    else:
        _print(links, result)
    result.check()


def _print(links: "list[Link]", result: "Verification") -> None:
    columns([
        ("STEP", "MAX |Δ|", "SQNR", "SAME ANSWER"),
        *(
            (
                f"{link.before} → {link.after}", f"{link.max_abs:.3g}", _db(link.sqnr_db),
                f"{link.agreement:.2%}",
            )
            for link in links
        ),
    ])  # fmt: skip
    click.echo()
    columns([
        ("LAYER", "OPERATION", "VALUES", "DIFFERING", "MAX STEPS", "SQNR"),
        *((gap.name[-48:], gap.op, f"{gap.elements}", *_apart(gap)) for gap in result.layers),
    ])  # fmt: skip
    click.echo()
    integers = result.integer_layers
    floats = [gap for gap in result.layers if not gap.integer]
    on = f"on {result.samples} samples"
    if integers:
        exact = sum(not gap.differing for gap in integers)
        click.echo(f"{exact} of {len(integers)} integer layers identical to ONNX Runtime {on}")
    if floats:
        near = sum(gap.ok for gap in floats)
        click.echo(f"{near} of {len(floats)} float layers as ONNX Runtime's but for rounding {on}")
    for line in result.verdicts():
        click.echo(line)


def _apart(gap: "Gap") -> tuple[str, str, str]:
    """Codes are the same or not; floats of another order of sums nearly always differ."""
    if gap.max_steps is None:
        return "-", "-", _db(gap.sqnr_db)
    return f"{gap.differing}", f"{gap.max_steps:.0f}", "-"


def _db(value: float | None) -> str:
    return "identical" if value is None else f"{value:.1f} dB"
