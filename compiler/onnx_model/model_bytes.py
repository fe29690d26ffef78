"""A model's file as it lies there."""

from pathlib import Path

from edgekiln.runtime.errors import InputError
from edgekiln.runtime.limits import read_regular, reading_hint


def model_bytes(path: Path) -> bytes:
    """The whole content of a model's file. Raises InputError: there is none, or not to be read."""
    try:
        return read_regular(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file", hint="check its path and name") from error
    except OSError as error:
        hint = reading_hint(error, "give the path of an .onnx, .tflite or .pt2 file")
        raise InputError(f"{path}: cannot be read: {error.strerror}", hint) from error
