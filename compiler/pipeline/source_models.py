"""What a bundle was made from, as far as the store still has it."""

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.pipeline.artifact import Artifact, Record
from edgekiln.compiler.pipeline.atomic_io import explained
from edgekiln.compiler.pipeline.store import Store
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.limits import reading_hint

if TYPE_CHECKING:
    from edgekiln.runtime.bundle import ProgramFile
    from edgekiln.runtime.manifest import ProgramSpec


def source_model(spec: "ProgramSpec") -> Artifact:
    """The ONNX model that a program was compiled from.

    Raises:
        InputError: it is gone.
        StorageError: the store, or what it has of it, cannot be read.
    """
    store = Store()
    with explained(store.root):
        if store.root.exists() and not store.root.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(store.root))
        # Unlike `find`, to which what cannot be read is none.
        key = store.indexed(spec.model_sha256)
        if key:
            store.read(key)
    if artifact := store.find(spec.model_sha256):
        return artifact
    raise InputError(
        f"the store no longer has the model of {spec.name} (sha256 {spec.model_sha256[:12]}…)",
        "give it by --model FILE.onnx",
    )


def known_model(path: Path) -> Artifact:
    """A user's ONNX file, with the history that the store knows of it.

    Raises:
        InputError: it cannot be read.
    """
    try:
        file = Artifact.of_file(path, "onnx")
    except OSError as error:
        hint = reading_hint(error, "give the path of an .onnx file")
        raise InputError(f"cannot read {path}: {error.strerror}", hint) from error
    known = Store().find(file.sha256)
    return replace(file, chain=known.chain) if known else file


def models_of(opened: "ProgramFile") -> tuple[Path, ...]:
    """The int8 and the float model of a bundle, those that are still there; none for a `.lib`. Of
    a program that takes text they are the network behind the tokenizer, for which ONNX has no
    operators.

    Raises:
        BundleError: its manifest is not as a bundle's.
    """
    store = Store()
    made_from = {
        str(record.get("kind")): str(record.get("sha256"))
        for record in _provenance(opened)
        if not reads_text(record)
    }
    found = [store.find(made_from[kind]) for kind in ("onnx-int8", "onnx") if kind in made_from]
    return tuple(artifact.path for artifact in found if artifact)


def seed_of(opened: "ProgramFile") -> int:
    """The seed by which the data of a bundle were split when it was built; 0 where it says none,
    and of a `.lib`. Raises as `models_of`.
    """
    for record in reversed(_provenance(opened)):
        options = record.get("options")
        seed = options.get("seed") if isinstance(options, Mapping) else None
        if type(seed) is int and seed >= 0 and seed.bit_length() <= 32:
            return seed
    return 0


def _provenance(opened: "ProgramFile") -> Sequence[Record]:
    """One record a stage, first to last; none of a `.lib`."""
    from edgekiln.runtime.bundle import MANIFEST, Bundle

    if MANIFEST not in opened.files:
        return ()
    return Bundle.verified(opened.path, opened.files).manifest.provenance


def reads_text(record: "Mapping[str, object]") -> bool:
    """Whether a stage put a tokenizer before its model."""
    options = record.get("options")
    before = options.get("before") if isinstance(options, dict) else None
    steps = before if isinstance(before, list | tuple) else ()
    return any(str(step).partition("=")[0] in ("bpe", "wordpiece") for step in steps)
