"""Files as artifacts, for stages that are run without a store."""

from pathlib import Path

from edgekiln.compiler.build.resolve import kind_of
from edgekiln.compiler.pipeline.artifact import Artifact


def of(path: Path) -> Artifact:
    """The file, as a stage is given it."""
    return Artifact.of_file(path, kind_of(path))
