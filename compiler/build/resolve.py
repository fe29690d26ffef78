"""Where a build or a single stage begins: what the user named, and what its stages need to know."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from edgekiln.compiler.build.recipe import Recipe, load, stage_class
from edgekiln.compiler.pipeline.artifact import Artifact, Kind, sha256_of
from edgekiln.compiler.pipeline.source_models import known_model
from edgekiln.compiler.pipeline.stage import Advance, silent
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.stages.uses_data import data_of_onnx
from edgekiln.compiler.stages.uses_module import data_of_module
from edgekiln.models import zoo
from edgekiln.models.data.options import with_task
from edgekiln.models.data.sample_factory import is_reference
from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.typed import did_you_mean

KINDS: Mapping[str, Kind] = {
    ".pt": "module",
    ".onnx": "onnx",
    ".tflite": "onnx",  # it is read as that
    ".pt2": "onnx",
    ".lib": "lib",
    ".ekb": "bundle",
}
_MODELS = (".onnx", ".tflite", ".pt2")
WORDS: Mapping[Kind, str] = {
    "module": "a module (.pt)",
    "onnx": "a float .onnx",
    "onnx-int8": "a QDQ int8 .onnx",
    "lib": "a compiled program (.lib)",
    "bundle": "a bundle (.ekb)",
}


def is_file(model: str) -> bool:
    """Whether `model` names a file, and not a zoo entry or a factory, whose arguments may well end
    as a file's name does.
    """
    name, options, _ = model.partition("?")
    if options and (is_reference(name) or name in zoo.ENTRIES):
        return False
    return Path(model).suffix in KINDS


def kind_of(path: Path) -> Kind:
    """What a file holds, by its suffix and, for ONNX, by what is inside. Raises InputError."""
    if path.suffix not in KINDS:
        raise InputError(f"{path}: cannot tell what this file is", f"known are {', '.join(KINDS)}")
    kind = KINDS[path.suffix]
    if kind == "onnx":
        from edgekiln.compiler.onnx_model.io import is_quantized, load_model

        return "onnx-int8" if is_quantized(load_model(path)) else "onnx"
    return kind


@dataclass(frozen=True, kw_only=True)
class EnteredFile:
    """A user's file, and what becomes of it before anything reads it."""

    kind: Kind
    notes: tuple[str, ...] = ()  # what was changed
    content: bytes | None = None  # what is taken in; None: the file as it lies there


def enter(path: Path, recipe: Recipe) -> EnteredFile:
    """Look at a user's file. The recipe says of an ONNX model which sizes are fixed, which inputs
    are constant and what it remembers.

    Raises:
        EdgeKilnError: unknown, damaged, or what the recipe says does not fit.
    """
    if path.suffix not in _MODELS:
        return EnteredFile(kind=kind_of(path))
    from edgekiln.compiler.onnx_model import door
    from edgekiln.compiler.onnx_model.io import is_quantized

    entered = door.enter(
        path,
        recipe.shape,
        constants=recipe.constant,
        window=recipe.stream,
        pairs=recipe.state,
        find_states=not recipe.no_state,
    )
    return EnteredFile(
        kind="onnx-int8" if is_quantized(entered.model) else "onnx",
        notes=entered.notes,
        # Deterministic: equal models are equal bytes, and so one artifact.
        content=entered.model.SerializeToString(deterministic=True) if entered.notes else None,
    )


def start(
    store: Store,
    model: str,
    recipe: Recipe,
    advance: Advance = silent,
    door: Callable[[Path, Recipe], EnteredFile] = enter,
) -> Artifact:
    """The artifact that a chain begins with: the user's file, or a fresh module.

    Raises:
        EdgeKilnError: no such file or model, or it cannot be read.
    """
    _check_door(model, recipe)
    if is_file(model):
        path = Path(model)
        if not path.exists():
            raise InputError(f"no such file: {model}", "check its path and name")
        before = _hash_of(path)
        entered = door(path, recipe)
        artifact = _taken_in(store, path, entered)
        # What is taken in as it lies there must be what was looked at.
        if entered.content is None and artifact.sha256 != before:
            raise InputError(f"{path} was changed while it was read", "run it again")
        return artifact
    from edgekiln.compiler.stages.initialize import InitializeStage

    # Samples without labels serve for a factory of the user's; a model of the zoo has data of its
    # own.
    own = recipe.data or (recipe.calibrate if ":" in model else "")
    stage = InitializeStage(
        model=model, data=own or with_task(default_data(model), recipe.task), seed=recipe.seed
    )
    return store.run(stage, None, None, advance)


def given_model(path: Path, recipe: Recipe) -> Artifact:
    """A user's ONNX file as a build takes it in, with the history that the store knows of it.

    Raises:
        EdgeKilnError: as `enter`.
    """
    entered = enter(path, recipe)
    return known_model(path) if entered.content is None else _taken_in(Store(), path, entered)


def _check_door(model: str, recipe: Recipe) -> None:
    """Refuse what is said of the inputs and outputs of an ONNX model where there is none."""
    if is_file(model) and Path(model).suffix in (".onnx", ".pt2"):
        return
    given = {"--state": recipe.state, "--constant": recipe.constant, "--stream": recipe.stream}
    if named := [option for option, value in given.items() if value]:
        raise ConfigError(
            f"{named[0]}: {model} is no ONNX model",
            "export it by torch.onnx.export, with names for inputs and outputs, and begin there",
        )


def _hash_of(path: Path) -> str:
    """The hash of a file; "" of one that cannot be read: who looks at it says why."""
    try:
        return sha256_of(path)
    except (OSError, ValueError):
        return ""


def _taken_in(store: Store, path: Path, entered: EnteredFile) -> Artifact:
    if entered.content is None:
        return store.ingest(path, entered.kind)
    with TemporaryDirectory(prefix="edgekiln-") as folder:
        # What was changed is ONNX.
        whole = Path(folder, path.name).with_suffix(".onnx")
        whole.write_bytes(entered.content)
        artifact = store.ingest(whole, entered.kind)
    return replace(artifact, called=str(path), remark="; ".join(entered.notes))


def begin_stage(store: Store, name: str, model: str, recipe: Recipe) -> Artifact:
    """What stage `name` reads, checked to be of a kind it takes."""
    takes = stage_class(name).takes
    if not is_file(model) and "module" not in takes:
        kinds = " or ".join(WORDS[kind] for kind in takes)
        raise ConfigError(f"{name}: {model!r} is not a file it can read", f"it takes {kinds}")
    artifact = start(store, model, recipe)
    if artifact.kind == "onnx-int8" and "onnx" in takes and "onnx-int8" not in takes:
        from edgekiln.compiler.onnx_model.blocked_weights import are_all_codes
        from edgekiln.compiler.onnx_model.io import load_model

        if are_all_codes(load_model(artifact.path)):
            return replace(artifact, kind="onnx")
        raise ConfigError(
            f"{name}: {model} is quantized already",
            "give the float .onnx that it was made of, or go on with: edgekiln compile",
        )
    if artifact.kind not in takes:
        raise ConfigError(
            f"{name}: {model} is {WORDS[artifact.kind]}",
            f"it takes {' or '.join(WORDS[kind] for kind in takes)}",
        )
    return artifact


def default_data(model: str) -> str:
    """The data set a zoo model is trained on. Raises ConfigError for other models."""
    from edgekiln.models.zoo.entries import ENTRIES

    name = model.partition("?")[0]
    if name in ENTRIES:
        return ENTRIES[name].data
    if ":" in name:
        raise ConfigError(
            f"{model}: which data is it trained on?",
            "say --data digits, or a folder, .npz, IDX or CIFAR file; or --calibrate samples "
            "without labels for one that needs no training",
        )
    hint = did_you_mean(name, ENTRIES, what="models are")
    raise ConfigError(
        f"no model named {name!r}", f"give package.module:factory for your own; {hint}"
    )


def default_recipe(model: str) -> Recipe:
    """The ready recipe of a zoo model; an empty one for anything else."""
    from edgekiln.models.zoo.entries import ENTRIES

    entry = ENTRIES.get(model.partition("?")[0])
    return load(entry.recipe) if entry and entry.recipe.is_file() else Recipe()


def named_recipe(name: Path) -> Recipe:
    """The recipe in a file, or a ready one by its name, such as "resnet8-cifar10".

    Raises:
        ConfigError: there is neither, or what is there is no recipe.
    """
    from edgekiln.models.zoo.entries import RECIPES

    if name.exists() or name.suffix or len(name.parts) > 1:
        return load(name)
    ready = {path.stem: path for path in RECIPES.glob("*.toml")}
    if str(name) not in ready:
        raise ConfigError(
            f"no recipe file {name}, and no ready recipe of that name",
            did_you_mean(str(name), ready, what="ready are"),
        )
    return load(ready[str(name)])


def done_stages(artifact: Artifact) -> tuple[str, ...]:
    """The stages that a module has behind it: a trained one is not trained again."""
    if artifact.kind != "module":
        return ()
    from edgekiln.models.artifact import read_meta

    return tuple(artifact.read(read_meta).history)


def data_of(artifact: Artifact) -> str:
    """The data set that a module or ONNX model names as its own; "" if it names none."""
    return data_of_module(artifact) or data_of_onnx(artifact)


def allowed(model: str, recipe: Recipe) -> frozenset[str]:
    """The factories that module files may name: what the user names himself, and what he allows."""
    teachers = (
        str(name) for options in recipe.options.values() for name in options.get("teacher", ())
    )
    named = (name.partition("?")[0] for name in (model, *teachers) if not is_file(name))
    return frozenset((*named, *recipe.allow_factories))


def display_name(model: str) -> str:
    """What the bundle is called after: "resnet8", a factory's name, or the file's."""
    base = model.partition("?")[0]
    if is_file(base):
        base = Path(base).stem
    base = base.rpartition(":")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", base).strip("-.") or "model"
