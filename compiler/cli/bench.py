"""`edgekiln bench`: how fast a bundle is here, with ONNX Runtime beside it."""

from pathlib import Path

import click

from edgekiln.compiler.cli.bench_points import TraceOptions, bench_points, trace_options
from edgekiln.compiler.cli.devices import allowed_signers_option, device_option
from edgekiln.compiler.cli.options import FiniteRange, point_option
from edgekiln.compiler.cli.output import json_option, print_json
from edgekiln.runtime.bench import MAX_SECONDS, MAX_TRIALS, MIN_SECONDS, TRIALS
from edgekiln.runtime.trace import Policy

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("bundle", type=FILE)
@click.option(
    "--onnx",
    "models",
    type=FILE,
    multiple=True,
    metavar="FILE.onnx",
    help="Measure ONNX Runtime on this model (default: the bundle's own, if the store has them).",
)
@click.option(
    "--trials",
    type=click.IntRange(max=MAX_TRIALS),
    default=TRIALS,
    show_default=True,
    help="Measure each engine this many times, in turn.",
)
@click.option(
    "--min-seconds",
    type=FiniteRange(min=0, max=MAX_SECONDS),
    default=MIN_SECONDS,
    show_default=True,
    help="Let a trial last this many seconds.",
)
@click.option(
    "--threads", default=1, show_default=True, help="Share each inference among this many threads."
)
@click.option(
    "--cpu",
    type=int,
    help="Pin the threads to this CPU, by number, and those behind it (default: not pinned).",
)
@click.option("--profile", is_flag=True, help="Time every layer, too.")
@click.option(
    "--power",
    default="auto",
    show_default=True,
    metavar="METER",
    help="Measure energy by this: auto, none, a sensor, or an external meter's .csv or serial "
    "line.",
)
@point_option
@trace_options
@device_option
@allowed_signers_option
@click.option("--strict", is_flag=True, help="Refuse a noisy, throttled or overheated run.")
@json_option
def bench(
    *, bundle: Path, models: tuple[Path, ...], trials: int, min_seconds: float, threads: int,
    cpu: int | None, profile: bool, power: str, point: str, device: str | None,
    allowed_signers: Path | None, strict: bool, as_json: bool, trace: Path | None,
    policy: Policy | None, data: str, seed: int | None, cascade: float | None, costs: Path | None,
    page: Path | None,
) -> None:  # fmt: skip
    """Measure BUNDLE and, beside it, ONNX Runtime.

    Both run on the same threads, trial by trial in turn; the bundle by its own executable. On
    another device, BUNDLE is measured alone.

    With --trace, --cascade or --costs all operating points of BUNDLE are measured, in turn; then a
    day is replayed, by its governor and at each point alone.
    """
    wanted = TraceOptions(
        trace=trace, policy=policy, data=data, seed=seed, cascade=cascade, costs=costs, page=page
    )
    wanted.check()
    if wanted.all_points:
        if models or point or profile:
            raise click.UsageError(
                "--trace, --cascade and --costs measure all points: leave --onnx, --point and "
                "--profile out"
            )
        bench_points(
            bundle, wanted, trials=trials, min_seconds=min_seconds, threads=threads, cpu=cpu,
            power=power, device=device, allowed_signers=allowed_signers, strict=strict,
            as_json=as_json,
        )  # fmt: skip
        return
    from edgekiln.compiler.devices.named import open_device
    from edgekiln.compiler.pipeline.source_models import models_of
    from edgekiln.runtime.bench import compare, require_quiet
    from edgekiln.runtime.bundle import ProgramFile
    from edgekiln.runtime.documents import Benches
    from edgekiln.runtime.text import bench_lines

    if device and models:
        raise click.UsageError("--onnx runs on this machine: leave it out with --device")
    # What the user names goes before what the store still has, which is the first point's model.
    opened = ProgramFile.open(bundle)  # once: model and program are of these bytes
    references = () if device else models or (() if point else models_of(opened))
    results = compare(
        opened,
        references,
        trials=trials,
        min_seconds=min_seconds,
        threads=threads,
        profile=profile,
        cpu=cpu,
        power=power,
        device=open_device(device, bundle) if device else None,
        signers=allowed_signers,
        point=point,
    )
    if strict:
        require_quiet(results)
    if as_json:
        print_json("edgekiln.bench-set/2", Benches(results=tuple(results)))
        return
    for line in bench_lines(results):
        click.echo(line)
    if not references and not device and not point:
        click.echo("ONNX Runtime: the store no longer has the model; give it by --onnx FILE")
