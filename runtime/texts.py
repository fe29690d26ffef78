"""Text as programs take it: UTF-8 in rows of bytes, with zeros behind what is shorter."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.runtime.errors import InputError
from edgekiln.runtime.limits import INPUTS, read_file
from edgekiln.runtime.manifest import TEXT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import TensorSpec

TEXT_SUFFIX = ".txt"


def is_text(array: "NDArray[np.generic]") -> bool:
    """Whether an array holds words, and not numbers."""
    return array.dtype.kind in "US"


def of_array(array: "NDArray[np.generic]", spec: "TensorSpec", where: str) -> "NDArray[np.generic]":
    """An array of `str` or `bytes`, or one alone, as rows of bytes. Raises InputError."""
    return rows(array.reshape(-1).tolist(), spec, where)


def rows(texts: Sequence[str | bytes], spec: "TensorSpec", where: str) -> "NDArray[np.uint8]":
    """(N, bytes): a row for each text. Zeros inside a text, which say nothing, are left out.

    Raises:
        InputError: the input takes no text, or not so much.
    """
    if spec.holds != TEXT:
        raise InputError(
            f"{where}: input {spec.name!r} is {spec.dtype} {spec.shape}, and takes no text",
            hint="give it numbers; a program takes text that is built with --before wordpiece=… or "
            "bpe=…",
        )
    room = spec.shape[1]
    made = np.zeros((len(texts), room), np.uint8)
    for row, text in zip(made, texts, strict=True):
        # Halves of characters, which Python's strings may hold, are no characters.
        plain = text.encode(errors="ignore") if isinstance(text, str) else text
        content = plain.replace(b"\0", b"")
        if len(content) > room:
            raise InputError(
                f"{where}: a text of {len(content)} bytes, input {spec.name!r} takes {room}",
                hint="shorten it, or build the program with more room: --before "
                f"wordpiece=…&bytes={len(content)}, or bpe=…",
            )
        row[: len(content)] = np.frombuffer(content, np.uint8)
    return made


def read_lines(path: Path, spec: "TensorSpec") -> "NDArray[np.uint8]":
    """A text file, each line a text; (N, bytes). Raises InputError."""
    content = read_file(path, INPUTS, hint="give a file of text, a line for each")
    return rows(lines_of(content), spec, str(path))


def lines_of(content: bytes) -> list[bytes]:
    """The lines of a file: only a line feed ends one, and the last one's end begins no other."""
    lines = content.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n").split(b"\n")
    return [line.removesuffix(b"\r") for line in lines]
