"""Where a build or a single stage begins: what the user named, and what its stages need to know."""

import importlib.util
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from edgekiln.compiler.build.recipe import Recipe, load, stage_class
from edgekiln.compiler.environment.doctor import compiler_version
from edgekiln.compiler.pipeline.artifact import Artifact, sha256_of
from edgekiln.compiler.pipeline.fingerprint import generator_sha256
from edgekiln.compiler.pipeline.stage import Advance, Kind, Stage, silent
from edgekiln.compiler.pipeline.store import Store
from edgekiln.models.zoo import vision
from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.typed import did_you_mean
from edgekiln.targets.profile import TargetProfile

S = TypeVar("S", bound=Stage)

KINDS: Mapping[str, Kind] = {".pt": "module", ".onnx": "onnx", ".lib": "lib", ".ekb": "bundle"}
WORDS: Mapping[Kind, str] = {
    "module": "a module (.pt)",
    "onnx": "a float .onnx",
    "onnx-int8": "a QDQ int8 .onnx",
    "lib": "a compiled program (.lib)",
    "bundle": "a bundle (.ekb)",
}


def is_file(model: str) -> bool:
    """Whether `model` names a file, and not a zoo entry or a factory."""
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


def start(store: Store, model: str, recipe: Recipe, advance: Advance = silent) -> Artifact:
    """The artifact that a chain begins with: the user's file, or a fresh module.

    Raises:
        EdgeKilnError: no such file or model, or it cannot be read.
    """
    if is_file(model):
        path = Path(model)
        if not path.exists():
            raise InputError(f"no such file: {model}")
        return store.ingest(path, kind_of(path))
    from edgekiln.compiler.stages.initialize import Initialize

    stage = Initialize(model=model, data=recipe.data or default_data(model), seed=recipe.seed)
    return store.run(derive(stage), None, None, advance)


def begin_stage(store: Store, name: str, model: str, recipe: Recipe) -> Artifact:
    """What stage `name` reads, checked to be of a kind it takes."""
    takes = stage_class(name).takes
    if not is_file(model) and "module" not in takes:
        kinds = " or ".join(WORDS[kind] for kind in takes)
        raise ConfigError(f"{name}: {model!r} is not a file it can read", f"it takes {kinds}")
    artifact = start(store, model, recipe)
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
            "say --data digits, or a folder, .npz, IDX or CIFAR file",
        )
    hint = did_you_mean(name, ENTRIES, what="models are")
    raise ConfigError(f"no model named {name!r}", f"{hint} Or give package.module:factory")


def default_recipe(model: str) -> Recipe:
    """The ready recipe of a zoo model; an empty one for anything else."""
    from edgekiln.models.zoo.entries import ENTRIES

    entry = ENTRIES.get(model.partition("?")[0])
    return load(entry.recipe) if entry and entry.recipe.is_file() else Recipe()


def data_of(artifact: Artifact) -> str:
    """The data set that a module or ONNX model names as its own; "" if it names none."""
    if artifact.kind == "module":
        from edgekiln.models.artifact import load_module

        return load_module(artifact.path)[1].data
    if artifact.kind in ("onnx", "onnx-int8"):
        from edgekiln.compiler.onnx_model.io import load_model, read_meta

        return read_meta(load_model(artifact.path)).data
    return ""


def done_stages(artifact: Artifact) -> tuple[str, ...]:
    """The stages that a module has behind it: a trained one is not trained again."""
    if artifact.kind != "module":
        return ()
    from edgekiln.models.artifact import load_module

    return tuple(load_module(artifact.path)[1].history)


def derive(stage: S, src: Artifact | None = None, target: TargetProfile | None = None) -> S:
    """Fill the derived fields: `x_sha256` is the hash of what option `x` names, `toolchain` the
    version of the target's C compiler, `generator` the hash of our own, `provenance` how `src`
    came about (JSON).

    For `data` the hash is the data set's fingerprint, for `tuning` that of the file which is used,
    be it the target's own; for anything else the file's or, for a
    factory, its source file's.

    Raises:
        EdgeKilnError: the data set cannot be loaded.
    """
    known = {f.name for f in fields(stage)}
    changes: dict[str, Any] = {}
    if "data_sha256" in known:
        data: str = getattr(stage, "data") or (data_of(src) if src else "")  # noqa: B009
        changes["data"] = data
        if data:
            changes["data_sha256"] = fingerprint(data, getattr(stage, "seed", 0))
    if "tuning_sha256" in known and target:
        changes["tuning_sha256"] = tuning_sha256(getattr(stage, "tuning"), target)  # noqa: B009
    for hashed in known - {"data_sha256", "tuning_sha256"}:
        option = hashed.removesuffix("_sha256")
        if option != hashed and option in known:
            changes[hashed] = named_hash(str(getattr(stage, option) or ""))
    if "toolchain" in known and target:
        changes["toolchain"] = compiler_version(target.toolchain)
    if "generator" in known:
        changes["generator"] = generator_sha256()
    if "provenance" in known and src:
        changes["provenance"] = json.dumps(src.chain, sort_keys=True)
    return replace(stage, **changes)


def tuning_sha256(given: str, target: TargetProfile) -> str:
    """Hash of the tuning file; "" if there is none. Raises ConfigError."""
    from edgekiln.compiler.tuning.table import file_for, read

    path = file_for(given, target)
    if path is None:
        return ""
    read(path)  # says what is wrong with it before any stage runs
    return sha256_of(path)


@cache
def fingerprint(data: str, seed: int) -> str:
    from edgekiln.models.data import load as load_data

    return load_data(data, seed).fingerprint


def named_hash(name: str) -> str:
    """Hash of the file, or of the factory's source file, that `name` names; "" if there is none."""
    from edgekiln.models.zoo.entries import ENTRIES

    base = name.partition("?")[0]
    if base in ENTRIES:
        base = ENTRIES[base].factory
    path = _source(base.partition(":")[0]) if ":" in base else Path(base)
    return sha256_of(path) if path and path.is_file() else ""


def _source(module: str) -> Path | None:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # as the zoo does when it imports the factory
    try:
        if module.partition(".")[0] in vision.PACKAGES:
            vision.mend_torchvision()
        found = importlib.util.find_spec(module)  # which imports the packages around it
    except Exception:
        return None  # `zoo.resolve` will say what is wrong
    return Path(found.origin) if found and found.has_location and found.origin else None


def display_name(model: str) -> str:
    """What the bundle is called after: "resnet8", a factory's name, or the file's."""
    base = model.partition("?")[0]
    if is_file(base):
        base = Path(base).stem
    base = base.rpartition(":")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", base).strip("-.") or "model"
