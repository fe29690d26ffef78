"""One command a stage; its options are the stage's fields."""

from pathlib import Path
from typing import Any

import click

from edgekiln.compiler.build.recipe import Option, Recipe, stage_class, stage_options
from edgekiln.compiler.build.stage_table import SUMMARIES
from edgekiln.compiler.cli.options import (
    DOOR_OPTIONS,
    SEED,
    Finite,
    TableText,
    allow_factory_option,
    nproc_option,
)
from edgekiln.compiler.cli.output import json_option, print_json
from edgekiln.compiler.cli.store import store_option
from edgekiln.compiler.pipeline.ranks import rank
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.hints import LiteralHint, RecordHint, ScalarHint, TupleHint, UnionHint
from edgekiln.runtime.text import human_bytes

# Of no stage, and so of no key: what is looked at changes no program.
INSPECTION: list[click.Parameter] = [
    click.Option(["--check-ir"], is_flag=True, help="Check the graph after each compiler pass."),
    click.Option(
        ["--dump-ir"],
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Write the graph as text after each compiler pass to this directory (default: none).",
    ),
]


class StageCommand(click.Command):
    """Reads an artifact file, writes an artifact file, keeps what it did in the store."""

    def __init__(self, name: str) -> None:
        super().__init__(name, help=SUMMARIES[name], callback=self.execute)
        self._complete = False

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The stage is imported only when somebody asks for its options."""
        # click asks more than once: to parse, and for the help.
        if not self._complete:
            self._complete = True
            assert self.name is not None
            cls = stage_class(self.name)
            self.params += [
                click.Argument(["src"], metavar="IN"),
                click.Option(["-o", "--output"], type=click.Path(path_type=Path), required=True,
                             metavar="OUT",
                             help=f"Write the result, a {cls.suffix} file, to this path."),
            ]  # fmt: skip
            if cls.uses_target:
                self.params.append(
                    click.Option(["--target"], default="host", show_default=True,
                                 metavar="NAME|FILE.toml", help="Build for this device.")
                )  # fmt: skip
            if cls.gives == "module":  # those that train
                self.params.append(
                    click.Option(["--logs"], type=click.Path(path_type=Path), metavar="DIR",
                                 help="Write training curves for TensorBoard to this directory "
                                      "(default: none).")
                )  # fmt: skip
                nproc_option(self)
            if self.name == "compile":
                self.params += INSPECTION
            self.params += [option_of(option) for option in stage_options(cls)]
            if "module" in cls.takes:
                # click's decorators add an option to a command that is there, too.
                allow_factory_option(self)
            if "onnx" in cls.takes:
                for add in DOOR_OPTIONS:
                    add(self)
            store_option(self)
            json_option(self)
        return super().get_params(ctx)

    def execute(
        self,
        src: str,
        output: Path,
        as_json: bool,
        target: str | None = None,
        logs: Path | None = None,
        nproc: int = 1,
        store_url: str = "",
        check_ir: bool = False,
        dump_ir: Path | None = None,
        allow_factory: tuple[str, ...] = (),
        shape: tuple[str, ...] = (),
        constant: tuple[str, ...] = (),
        state: tuple[str, ...] = (),
        no_state: bool = False,
        stream: str = "",
        **options: Any,  # of the types of the stage's fields
    ) -> None:
        """Run the stage on `src`, or find its result, and copy that to `output`."""
        from edgekiln.compiler.training.processes import meet, spread

        spread(nproc)
        from edgekiln.compiler.build.resolve import allowed, begin_stage
        from edgekiln.compiler.build.result import finite
        from edgekiln.compiler.documents.progress import progress
        from edgekiln.compiler.pipeline.atomic_io import check_folder, check_place, copy_out
        from edgekiln.compiler.pipeline.remote_store import open_store
        from edgekiln.targets import profile

        assert self.name is not None
        check_place(output)
        if dump_ir is not None:
            check_folder(dump_ir)
        _check_suffix(self.name, output)
        store = open_store(store_url)
        meet(store)
        device = profile.load(target) if target else None
        recipe = Recipe(
            data=options.get("data") or "",
            seed=options.get("seed") or 0,
            allow_factories=allow_factory,
            shape=shape,
            constant=constant,
            state=state,
            no_state=no_state,
            stream=stream,
            options={self.name: options},
        )
        artifact = begin_stage(store, self.name, src, recipe)
        # Apart from the stage, which does not run where the store has its result.
        if device is not None and self.name == "package" and _is_said("target"):
            from edgekiln.compiler.stages.package import check_target

            check_target(artifact.path, device.name, src)
        if device is not None and (check_ir or dump_ir):
            from edgekiln.compiler.stages.compile import inspect_passes

            batch = options["batch"]
            inspect_passes(artifact.path, device, batch, check=check_ir, dump=dump_ir)
        stage = stage_class(self.name)(**options)
        with progress(self.name) as advance:
            made = store.run(stage, artifact, device, advance, logs, allowed(src, recipe))
        if rank():
            return
        # A copy: the store's own file must stay as it is, whatever the user does with his.
        copy_out(made.path, output)
        if as_json:
            from edgekiln.compiler.cli.documents import StageRun

            document = StageRun(
                stage=self.name,
                output=str(output),
                sha256=made.sha256,
                bytes=output.stat().st_size,
                cached=made.cached,
                wall_s=made.wall_s,
                metrics=finite(made.metrics),
                notes=made.notes,
            )
            print_json("edgekiln.stage/1", document)
            return
        remarks = filter(None, (artifact.remark, made.remark))
        for note in (*made.notes, *remarks):
            click.echo(f"note: {note}", err=True)
        for key, value in made.metrics.items():
            click.echo(f"{key}: {value:.6g}")
        when = "cached" if made.cached else f"{made.wall_s:.1f} s"
        click.echo(f"wrote {output} ({human_bytes(output.stat().st_size)}, {when})")


def _is_said(parameter: str) -> bool:
    """Whether the user has given it, and it is not the default."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source is not click.core.ParameterSource.DEFAULT


def _check_suffix(name: str, output: Path) -> None:
    """Raise ConfigError where the output has the suffix of another kind of file, which whatever
    reads it would take it for.
    """
    from edgekiln.compiler.build.resolve import KINDS

    suffix = stage_class(name).suffix
    if output.suffix in KINDS and not suffix.endswith(output.suffix):
        raise ConfigError(
            f"{name}: the result is a {suffix} file, and {output} would be called another one",
            f"write -o {output.with_suffix(suffix)}",
        )


def option_of(option: Option) -> click.Option:
    """The command-line form of a stage's field."""
    flag = f"--{option.key}"
    common: dict[str, Any] = {  # keyword arguments of click's
        "default": option.default,
        "help": option.help,
        "show_default": option.default not in (None, "", ()),
    }
    hint = option.hint.required if isinstance(option.hint, UnionHint) else option.hint
    match hint:
        case LiteralHint(values=values):
            return click.Option([flag], type=click.Choice(values), **common)
        case TupleHint(items=[ScalarHint(kind=kind)]):
            number = Finite() if kind is float else kind
            return click.Option([flag], type=number, multiple=True, **common)
        case TupleHint(items=[RecordHint(kind=kind)]):
            return click.Option([flag], type=TableText(kind), multiple=True, **common)
        case ScalarHint(kind=kind) if kind is bool:
            return click.Option([f"{flag}/--no-{option.key}"], **common)
        case ScalarHint(kind=kind) if kind is float:
            return click.Option([flag], type=Finite(), **common)
        case ScalarHint(kind=kind):
            flags = [option.field, flag, *([f"--{option.also}"] if option.also else [])]
            return click.Option(flags, type=SEED if option.key == "seed" else kind, **common)
    raise TypeError(f"{option.key}: no option can be made of {hint}")
