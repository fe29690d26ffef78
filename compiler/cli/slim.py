"""`edgekiln slim`: a model as one program with several operating points."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekiln.compiler.build.recipe import Recipe, stage_options
from edgekiln.compiler.cli.options import allow_factory_option
from edgekiln.compiler.cli.output import columns, json_option, print_json
from edgekiln.compiler.cli.stages import option_of
from edgekiln.compiler.cli.store import store_option
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.text import human_bytes

if TYPE_CHECKING:
    from edgekiln.compiler.build.adaptive import AdaptiveBuild


class SlimCommand(click.Command):
    """Its options are the stage's fields, which are imported only when somebody asks."""

    _complete = False

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if not self._complete:
            from edgekiln.compiler.stages.slim import SlimStage

            self._complete = True
            self.params += [option_of(option) for option in stage_options(SlimStage)]
        return super().get_params(ctx)


@click.command(cls=SlimCommand)
@click.argument("model")
@click.option(
    "-o", "--output", "out", type=click.Path(path_type=Path), required=True, metavar="OUT.ekb",
    help="Write the bundle to this path, and the int8 models of its points beside it.",
)  # fmt: skip
@click.option(
    "--target", default="host", show_default=True, metavar="NAME|FILE.toml",
    help="Build for this device.",
)  # fmt: skip
@allow_factory_option
@store_option
@json_option
def slim(
    *, model: str, out: Path, target: str, allow_factory: tuple[str, ...], store_url: str,
    as_json: bool, **options: object,
) -> None:  # fmt: skip
    """Train MODEL and narrower forms of it together, and build one program of all.

    MODEL is a zoo name, package.module:factory or a module (.pt). The forms share their weights:
    a narrower one has the first channels of the widest. Each is an operating point of the program.

    \b
      edgekiln slim resnet8 --data digits --points 4 -o dist/adaptive.ekb
    """
    from edgekiln.compiler.build.adaptive import build_adaptive
    from edgekiln.compiler.documents.progress import progress
    from edgekiln.compiler.pipeline.atomic_io import check_place
    from edgekiln.compiler.pipeline.remote_store import open_store
    from edgekiln.compiler.stages.slim import SlimStage
    from edgekiln.targets import profile

    if out.suffix != ".ekb":
        raise ConfigError(
            f"slim: the result is a bundle, and {out} would be called another one",
            f"write -o {out.with_suffix('.ekb')}",
        )
    check_place(out)
    device = profile.load(target)
    stage = Recipe().stage(SlimStage, {}, options)
    recipe = Recipe(data=stage.data, seed=stage.seed, allow_factories=allow_factory)
    made = build_adaptive(model, stage, device, out, open_store(store_url), progress, recipe)
    if as_json:
        print_json("edgekiln.slim/1", made)
    else:
        _print(made)


def _print(made: "AdaptiveBuild") -> None:
    columns([
        ("POINT", "MACS", made.points[0].score.heading, "FLOAT", "SHARED WEIGHTS"),
        *(
            (
                point.name, f"{point.macs:,}", str(point.score), str(point.float_score),
                f"{point.shared:.0%}",
            )
            for point in made.points
        ),
    ])  # fmt: skip
    click.echo(
        f"wrote {made.bundle}: weights {human_bytes(made.weights_bytes)}, arena "
        f"{human_bytes(made.arena_bytes)} for all points"
    )
