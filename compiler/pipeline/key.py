"""The key that names an artifact: a hash of everything that could change its bytes."""

from importlib import metadata

from edgekiln.compiler.pipeline.artifact import Artifact, Record
from edgekiln.compiler.pipeline.fingerprint import code_sha256
from edgekiln.compiler.pipeline.stage import Stage
from edgekiln.runtime.codec import digest, encode
from edgekiln.runtime.errors import MissingToolError
from edgekiln.targets.profile import TargetProfile

FORMAT = 2  # of the store; part of every key, so raising it starts afresh


def recipe_of(stage: Stage, src: Artifact | None, target: TargetProfile | None) -> Record:
    """Everything that can change what `stage` makes of `src`, in one readable dict.

    Raises:
        MissingToolError: a distribution the stage works with is not installed.
        EdgeKilnError: something that the stage reads cannot be read.
    """
    assert target is not None or not stage.uses_target, f"{stage.name} needs a target"
    return {
        "stage": stage.name,
        "code": code_sha256(type(stage).__module__),
        "options": {
            name: value for name, value in encode(stage).items() if name not in stage.by_content
        },
        "input": src.sha256 if src else None,
        "uses": dict(stage.uses(src, target)),
        "target": encode(target) if target and stage.uses_target else None,
        "tools": {tool: _tool_version(tool) for tool in stage.tools},
    }


def key_of(recipe: Record) -> str:
    """The name of what a recipe makes, in the store."""
    return digest({"format": FORMAT, **recipe})


def _tool_version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        raise MissingToolError(
            f"the Python package {distribution} is not installed", "pip install 'edgekiln[build]'"
        ) from None
