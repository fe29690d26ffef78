"""`edgekiln build`: the whole chain."""

from pathlib import Path

import click

from edgekiln.compiler.build.recipe import PRECISIONS, Precision
from edgekiln.compiler.cli.options import (
    SEED,
    Drop,
    Finite,
    FiniteRange,
    after_option,
    allow_factory_option,
    before_option,
    constant_option,
    no_state_option,
    nproc_option,
    shape_option,
    skip_option,
    state_option,
    stream_option,
)
from edgekiln.compiler.cli.output import json_option, print_json
from edgekiln.compiler.cli.store import store_option
from edgekiln.compiler.pipeline.ranks import rank
from edgekiln.runtime.bench import MAX_SECONDS


@click.command()
@click.argument("model")
@click.option(
    "--target",
    "targets",
    metavar="NAME|FILE.toml",
    multiple=True,
    default=("host",),
    show_default=True,
    help="Build for this device; again for more.",
)
@click.option(
    "--recipe",
    "recipe_path",
    type=click.Path(path_type=Path),
    metavar="FILE.toml|NAME",
    help="Take the stages' options from this file, or from the ready recipe of this name, such as "
    "resnet8-cifar10 (default: the model's own recipe).",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="int8",
    show_default=True,
    help="Compute in these numbers; float32 leaves out the quantization.",
)
@click.option(
    "--data",
    metavar="SPEC",
    help="Train and test on this data set, a name or a path (default: the model's own).",
)
@click.option(
    "--calibrate",
    metavar="SPEC",
    help="Take the ranges of quantization from these samples, which need no labels: a folder of "
    "pictures, .npy, .npz, or package.module:factory (default: the data set). Without a data set, "
    "the table shows how far the program agrees with the float model on them.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="dist",
    show_default=True,
    metavar="DIR",
    help="Write the bundles to this directory.",
)
@click.option(
    "--task",
    metavar="NAME|MODULE:FACTORY",
    help="Train for this task and measure what it measures: classification, regression, "
    "segmentation, … or package.module:factory; of a model with several heads HEAD=NAME, joined by "
    "commas (default: what the data is for).",
)
@click.option(
    "--max-drop",
    type=Drop(),
    multiple=True,
    metavar="[NAME=]PP",
    help="Stop at a stage that loses more than this many percentage points of the task's metric, "
    "or percent where it is no share; quantization does what it takes to lose no more. NAME is a "
    "head's or a metric's; again for more (default: no limit).",
)
@click.option(
    "--min-sqnr",
    type=Finite(),
    metavar="DB",
    help="Stop at a stage whose outputs, held against the float model's, have a lower "
    "signal-to-noise ratio than this many decibels; quantization does what it takes to keep it "
    "(default: no limit).",
)
@click.option(
    "--seed", type=SEED, help="Draw weights, splits and orders by this seed (default: 0)."
)
@skip_option
@click.option(
    "--bench-seconds",
    type=FiniteRange(min=0, max=MAX_SECONDS),
    default=1.0,
    show_default=True,
    metavar="S",
    help="Let each of an engine's 5 latency trials last this many seconds; 0 measures none.",
)
@click.option(
    "--logs",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write training curves for TensorBoard to this directory (default: none).",
)
@click.option("--check-ir", is_flag=True, help="Check the graph after each compiler pass.")
@click.option(
    "--dump-ir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write the graph as text after each compiler pass below this directory, one a target "
    "(default: none).",
)
@shape_option
@constant_option
@state_option
@no_state_option
@stream_option
@before_option
@after_option
@allow_factory_option
@nproc_option
@store_option
@json_option
def build(
    *,
    model: str,
    targets: tuple[str, ...],
    recipe_path: Path | None,
    precision: Precision,
    data: str | None,
    calibrate: str | None,
    out: Path,
    task: str | None,
    max_drop: tuple[tuple[str, float], ...],
    min_sqnr: float | None,
    seed: int | None,
    skip: tuple[str, ...],
    bench_seconds: float,
    logs: Path | None,
    check_ir: bool,
    dump_ir: Path | None,
    shape: tuple[str, ...],
    constant: tuple[str, ...],
    state: tuple[str, ...],
    no_state: bool,
    stream: str,
    before: tuple[str, ...],
    after: tuple[str, ...],
    allow_factory: tuple[str, ...],
    nproc: int,
    store_url: str,
    as_json: bool,
) -> None:
    """Build MODEL for one or more targets.

    The stages are distill, prune, export, quantize, attach (of raw data), compile and package.
    MODEL is a zoo name, package.module:factory, a module (.pt), a float .onnx, or a QDQ int8 .onnx;
    the chain is entered where it stands. What was built before is not built again.

    \b
      edgekiln build resnet8
      edgekiln build mynet.onnx --data photos/ --target x86-64-v3 --target x86-avx512-vnni
      edgekiln build mynet.onnx --calibrate "pictures/?scale=0.0039216" --target rpi5
    """
    from edgekiln.compiler.training.processes import spread

    spread(nproc)
    from edgekiln.compiler.build import driver as engine
    from edgekiln.compiler.build import recipe as recipes
    from edgekiln.compiler.build.resolve import default_recipe, named_recipe
    from edgekiln.compiler.build.result import SCHEMA
    from edgekiln.compiler.build.shared_stages import shared_artifacts
    from edgekiln.compiler.documents.progress import progress
    from edgekiln.compiler.pipeline.atomic_io import check_folder
    from edgekiln.compiler.pipeline.remote_store import open_store
    from edgekiln.compiler.training.processes import meet
    from edgekiln.targets import profile

    # Options of the command line lie over the recipe; what is not given changes nothing.
    recipe = named_recipe(recipe_path) if recipe_path else default_recipe(model)
    recipe = recipes.override(
        recipe,
        data=data,
        task=task,
        calibrate=calibrate,
        seed=seed,
        shape=shape,
        constant=constant,
        state=state,
        no_state=no_state,
        stream=stream,
        before=before,
        after=after,
        skip=recipes.check_skip(skip, "--skip"),
        allow_factories=allow_factory,
    )
    request = engine.Request(
        model=model,
        targets=tuple(profile.load(target) for target in targets),
        recipe=recipe,
        precision=precision,
        out=out,
        max_drops=dict(max_drop),
        min_sqnr_db=min_sqnr,
        trial_s=bench_seconds,
        logs=logs,
        check_ir=check_ir,
        dump_ir=dump_ir,
    )
    for folder in filter(None, (out, dump_ir, logs)):
        check_folder(folder)
    store = open_store(store_url)
    meet(store)
    if rank():  # it helps the first process to train, which does the rest
        shared_artifacts(request, store, progress, ("module",))
        return
    result = engine.build(request, store, progress)
    if as_json:
        print_json(SCHEMA, result)
        return
    from edgekiln.compiler.cli.tables import show
    from edgekiln.compiler.documents.console import plain_console

    show(result, plain_console())
