"""`edgekiln sensitivity`: which parts of a module, or layers of a float model, bear least."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from edgekiln.compiler.build.recipe import Option, Recipe, stage_options
from edgekiln.compiler.cli.options import DOOR_OPTIONS, allow_factory_option
from edgekiln.compiler.cli.output import json_option, print_json
from edgekiln.compiler.cli.stages import option_of
from edgekiln.compiler.cli.store import store_option

if TYPE_CHECKING:
    from edgekiln.compiler.pipeline.artifact import Artifact, Kind
    from edgekiln.compiler.pipeline.stage import Stage

_OF_FILES: "Mapping[Kind, tuple[str, ...]]" = {
    "module": ("allow_factory",),
    "onnx": ("shape", "constant", "state", "no_state", "stream"),
}

_HELP = """Show what IN bears least.

Of a module, a .pt file or a model by its name: what the network is worth on the validation split
with each channel group cut alone, by --part, and without each block, and no training. What loses
much is for `edgekiln prune --keep`.

Of a float .onnx: each layer in turn is quantized alone (or, with --mode all-but, left out), and the
outputs are held against the float model's on validation samples: the ratio of signal to noise, and,
with labels, what the task's metric loses. The most sensitive layers stand first, and are for
`edgekiln quantize --exclude`.

--part, --importance and --allow-factory are for modules; all other options of one kind, for .onnx.
"""


class SensitivityCommand(click.Command):
    """Its options are the fields of the two stages, of which what it is given chooses one."""

    def __init__(self) -> None:
        super().__init__("sensitivity", help=_HELP, callback=_run)
        self._complete = False

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The stages are imported only when somebody asks for their options."""
        # click asks more than once: to parse, and for the help.
        if not self._complete:
            self._complete = True
            self.params.append(click.Argument(["src"], metavar="IN"))
            known = {each.field: each for kind in _OF_FILES for each in _options(kind)}
            self.params += map(option_of, known.values())
            for add in (allow_factory_option, *DOOR_OPTIONS, store_option, json_option):
                add(self)
        return super().get_params(ctx)


def _stage(kind: "Kind") -> "type[Stage]":
    from edgekiln.compiler.stages.prune_sensitivity import PruneSensitivityStage
    from edgekiln.compiler.stages.sensitivity import SensitivityStage

    return PruneSensitivityStage if kind == "module" else SensitivityStage


def _options(kind: "Kind") -> tuple[Option, ...]:
    return stage_options(_stage(kind))


def _run(
    src: str,
    store_url: str,
    as_json: bool,
    allow_factory: tuple[str, ...],
    shape: tuple[str, ...],
    constant: tuple[str, ...],
    state: tuple[str, ...],
    no_state: bool,
    stream: str,
    **options: object,  # of the types of the stages' fields
) -> None:
    import json

    from edgekiln.compiler.build.resolve import allowed, start
    from edgekiln.compiler.cli.sensitivity_tables import show_layers, show_parts
    from edgekiln.compiler.documents.progress import progress
    from edgekiln.compiler.pipeline.remote_store import open_store
    from edgekiln.compiler.quantization.ladder_record import SensitivityReport
    from edgekiln.compiler.stages.prune_sensitivity import PruneSensitivity
    from edgekiln.runtime import codec

    store = open_store(store_url)
    seed = options["seed"]
    assert isinstance(seed, int)
    recipe = Recipe(
        data=str(options["data"] or ""),
        seed=seed,
        allow_factories=allow_factory,
        shape=shape,
        constant=constant,
        state=state,
        no_state=no_state,
        stream=stream,
    )
    artifact = start(store, src, recipe)
    _check_options(src, artifact)
    fields = {each.field for each in _options(artifact.kind)}
    stage = _stage(artifact.kind)(**{name: options[name] for name in fields})
    with progress("sensitivity") as advance:
        made = store.run(stage, artifact, None, advance, None, allowed(src, recipe))
    document = json.loads(made.path.read_text(encoding="utf-8"))
    if artifact.kind == "module":
        parts = codec.decode(PruneSensitivity, document)
        print_json("edgekiln.prune-sensitivity/1", parts) if as_json else show_parts(parts)
    else:
        layers = codec.decode(SensitivityReport, document)
        print_json("edgekiln.sensitivity/1", layers) if as_json else show_layers(layers)


def _check_options(src: str, artifact: "Artifact") -> None:
    """Raise ConfigError where IN is of neither kind, or an option is for the other one."""
    from edgekiln.compiler.build.resolve import WORDS
    from edgekiln.runtime.errors import ConfigError
    from edgekiln.runtime.typed import kebab

    it_is = f"{src} is {WORDS[artifact.kind]}"
    if artifact.kind not in _OF_FILES:
        raise ConfigError(
            f"sensitivity: {it_is}", f"it takes {' or '.join(WORDS[kind] for kind in _OF_FILES)}"
        )
    for kind in _OF_FILES:
        for name in set(_names(kind)) - set(_names(artifact.kind)):
            if _is_given(name):
                raise ConfigError(
                    f"--{kebab(name)}: {it_is}",
                    f"it is an option for {WORDS[kind]}; leave it out",
                )


def _names(kind: "Kind") -> Iterator[str]:
    """The options that something of this kind may be given."""
    yield from (each.field for each in _options(kind))
    yield from _OF_FILES[kind]


def _is_given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


sensitivity = SensitivityCommand()
