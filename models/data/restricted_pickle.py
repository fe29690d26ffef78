"""Unpickling that admits arrays, numbers, bytes, text, lists and dicts, and never runs code."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from edgekiln.runtime.errors import InputError

# The function numpy's own pickles name; its module's name differs between numpy 1 and 2.
_reconstruct: Any = np.zeros(0).__reduce__()[0]


def _dtype(code: DTypeLike, *_align_and_copy: object) -> np.dtype[Any]:
    """np.dtype without the flags, which old pickles give as integers and numpy 2.4 warns about."""
    dtype = np.dtype(code)
    if dtype.kind not in "biuf":
        raise pickle.UnpicklingError(f"array of {dtype}")
    return dtype


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """What `_codecs.encode` does for bytes pickled by protocol 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text encoding {encoding}")
    return text.encode(encoding)


_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"{module_name}.{global_name}")
        return _ADMITTED[module_name, global_name]


def load(path: Path) -> Any:
    """Text of Python 2 pickles comes as bytes.

    Raises:
        InputError: the pickle asks for anything else, which the message names, or is damaged.
    """
    try:
        with path.open("rb") as file:
            return _Unpickler(file, encoding="bytes").load()
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: refused, its pickle asks for {error}",
            hint="only arrays, numbers, text, lists and dicts are unpickled",
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise InputError(f"{path}: damaged pickle", hint="is the file complete?") from error
