"""Unpickling that admits arrays, numbers, bytes, text, lists and dicts, and never runs code.

Nothing of a file takes more memory than the file has bytes: NumPy's own unpickling, which allocates
what it is told, is replaced by `Array`, and numbers that only pickle machinery sees are checked.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.limits import DATA
from edgekiln.runtime.errors import EdgeKilnError, InputError
from edgekiln.runtime.limits import read_file


class _NotAdmittedError(Exception):
    """The pickle asks for something that it may not have; the message names it."""


class _Dtype:
    """A dtype as pickled: its code at first, its byte order by `__setstate__`."""

    def __init__(self, code: str | bytes, *_align_and_copy: object) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        self._dtype = np.dtype(text)
        # Truth values, integers and floats; an array of objects would hold anything.
        if self._dtype.kind not in "biuf":
            raise _NotAdmittedError(f"array of {self._dtype}")

    def __setstate__(self, state: tuple[object, ...]) -> None:
        # NumPy's state of a dtype is (version, byte order, …); "|" and "=" leave the order as it
        # is.
        if state[1] in ("<", b"<"):
            self._dtype = self._dtype.newbyteorder("<")
        elif state[1] in (">", b">"):
            self._dtype = self._dtype.newbyteorder(">")

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return self._dtype


class Array:
    """An array as pickled."""

    def __init__(self, *_kind_shape_and_code: object) -> None:
        self._values: NDArray[np.generic] = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:  # as numpy pickles them
        _version, shape, kind, fortran_order, content = state
        dtype = kind.dtype
        content = content.encode("latin1") if isinstance(content, str) else content
        # The shape is the file's word; what it takes is not allocated, but compared with what is
        # there.
        if math.prod(shape) * dtype.itemsize != len(content):
            raise ValueError(shape)
        flat: NDArray[np.generic] = np.frombuffer(content, dtype)
        self._values = flat.reshape(shape, order="F" if fortran_order else "C")

    @property
    def values(self) -> NDArray[np.generic]:
        """The array itself; it cannot be written to."""
        return self._values


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """What `_codecs.encode` does for bytes pickled by protocol 2."""
    if encoding != "latin1":
        raise _NotAdmittedError(f"text encoding {encoding}")
    return text.encode(encoding)


# The module's name differs between NumPy 1 and 2.
_ADMITTED: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): Array,
    ("numpy._core.multiarray", "_reconstruct"): Array,
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}
# Their argument is a place in the memo, which is allocated up to that place.
_MEMO = ("PUT", "BINPUT", "LONG_BINPUT")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> object:
        if (module_name, global_name) not in _ADMITTED:
            raise _NotAdmittedError(f"{module_name}.{global_name}")
        return _ADMITTED[module_name, global_name]


def load(path: Path) -> object:
    """Text of Python 2 pickles comes as bytes, arrays as `Array`.

    Raises:
        InputError: the pickle asks for anything else, which the message names, or is damaged, or
            larger than is held in memory.
    """
    content = read_file(path, DATA, "is it a pickle?")
    try:
        _check_memo(content)
        return _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except _NotAdmittedError as error:
        raise InputError(
            f"{path}: refused, its pickle asks for {error}",
            hint="only arrays, numbers, text, lists and dicts are unpickled",
        ) from error
    except EdgeKilnError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise InputError(f"{path}: damaged pickle", hint="is the file complete?") from error


def _check_memo(content: bytes) -> None:
    """Raise ValueError if a memo is asked for that has more places than the file bytes."""
    for operation, argument, _ in pickletools.genops(content):
        if operation.name in _MEMO and (argument is None or argument > len(content)):
            raise ValueError(argument)
