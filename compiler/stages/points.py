"""The models of a program's operating points, as a user names them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.runtime.errors import ConfigError, InputError, UnsupportedError
from edgekiln.targets.profile import TargetProfile

FIRST = "full"  # the name of the point that the program's own model is


def files_of(given: Sequence[str]) -> Mapping[str, Path]:
    """Name → file of each "NAME=FILE", in order.

    Raises:
        ConfigError: one has another form, or a name is given twice, is that of the first point, or
            could be taken for a number.
    """
    files: dict[str, Path] = {}
    for text in given:
        name, _, file = text.partition("=")
        name = name.strip()
        if not name or not file:
            raise ConfigError(
                f"--point {text}: neither a name nor a file may be missing",
                "write --point half=half.onnx",
            )
        if _NUMBER.fullmatch(name) or not name.isprintable():
            raise ConfigError(
                f"--point {text}: {name!r} is no name for a point",
                "points are called by a number, too: give a name with a letter, such as half",
            )
        if name in files or name == FIRST:
            raise ConfigError(
                f"--point {text}: there is a point {name!r} already",
                f"give each a name of its own; {FIRST!r} is the program's own model",
            )
        files[name] = Path(file)
    return files


_NUMBER = re.compile(r"[-+]?\d+")


def check_target(target: TargetProfile) -> None:
    """Raises UnsupportedError: its programs have one operating point."""
    if target.gpu:
        raise UnsupportedError(
            f"{target.name}: programs for GPUs have one operating point",
            "take a processor's target, or build each model by itself",
        )


def artifact(name: str, path: Path) -> Artifact:
    """The model of a point. Raises InputError: it cannot be read."""
    try:
        return Artifact.of_file(path, "onnx-int8")
    except OSError as error:
        raise InputError(
            f"point {name}: cannot read {path}: {error.strerror}", "give the path of an ONNX model"
        ) from error
