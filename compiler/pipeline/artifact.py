"""Artifacts, and the key that names one: a hash of everything that could change its bytes."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from edgekiln.compiler.pipeline.stage import Kind, Stage
from edgekiln.runtime.errors import MissingToolError
from edgekiln.targets.profile import TargetProfile

FORMAT = 1  # of the store; part of every key, so raising it starts afresh

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One file in the store."""

    path: Path
    kind: Kind
    sha256: str
    key: str
    chain: tuple[Record, ...]  # how it came about, first to last; the same on every machine
    metrics: Mapping[str, float]
    notes: tuple[str, ...] = ()
    wall_s: float = 0.0  # how long making it took, whenever that was
    cached: bool = False
    remark: str = ""  # of this run alone: a damaged copy was replaced


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recipe_of(stage: Stage, src: Artifact | None, target: TargetProfile | None) -> Record:
    """Everything that can change what `stage` makes of `src`, in one readable dict.

    Raises:
        MissingToolError: a distribution the stage works with is not installed.
    """
    assert target is not None or not stage.uses_target, f"{stage.name} needs a target"
    return {
        "stage": stage.name,
        "version": stage.version,
        "options": asdict(stage),
        "input": src.sha256 if src else None,
        "target": asdict(target) if target and stage.uses_target else None,
        "tools": {tool: _tool_version(tool) for tool in stage.tools},
    }


def key_of(recipe: Record) -> str:
    text = json.dumps({"format": FORMAT, **recipe}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _tool_version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        raise MissingToolError(
            f"the Python package {distribution} is not installed", "pip install 'edgekiln[build]'"
        ) from None
