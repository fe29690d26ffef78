"""A program's shared library in this process, and memory as its C interface wants it."""

import ctypes
import math
import os
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.runtime.bundle import LIBRARY
from edgekiln.runtime.errors import BundleError
from edgekiln.runtime.manifest import REBUILD_HINT, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALIGN = 64  # MODEL_ALIGN of model.h
OVERREAD = 64  # bytes a kernel may read, never use, past the end of a tensor


class Library:
    """libmodel.so, loaded from memory and unloaded with this object.

    Not through a temporary file: /tmp may be mounted noexec, a killed process would leave it, and
    the loader takes a new file at an inode it knows for the library it already has.
    """

    def __init__(self, content: bytes, where: str) -> None:
        """Raises BundleError: not a library for this machine, or not a program's."""
        descriptor = os.memfd_create("libmodel.so")
        try:
            with os.fdopen(descriptor, "wb", closefd=False) as stream:
                stream.write(content)
            library = ctypes.CDLL(f"/proc/self/fd/{descriptor}")
        except OSError as error:
            os.close(descriptor)
            raise BundleError(f"{where}: cannot load {LIBRARY}: {error}", REBUILD_HINT) from error
        weakref.finalize(self, _unload, library._handle, descriptor)
        try:
            self._run, self._step = library.model_run, library.model_step
            self.arena_bytes: int = ctypes.c_size_t.in_dll(library, "model_arena_bytes").value
        except (AttributeError, ValueError) as error:
            raise BundleError(f"{where}: not a program's library: {error}", REBUILD_HINT) from error
        pointers = ctypes.POINTER(ctypes.c_void_p)
        self._run.argtypes = (pointers, pointers, ctypes.c_void_p)
        self._step.argtypes = (
            ctypes.c_int, pointers, pointers, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32,
        )  # fmt: skip

    def run(self, inputs: "Pointers", outputs: "Pointers", arena: "NDArray[np.uint8]") -> None:
        """`model_run`. Raises BundleError when it reports an error."""
        if status := self._run(inputs.table, outputs.table, arena.ctypes.data):
            raise BundleError(f"model_run returned {status}", REBUILD_HINT)

    def step(
        self, index: int, inputs: "Pointers", outputs: "Pointers", arena: "NDArray[np.uint8]",
        work: int,
    ) -> None:  # fmt: skip
        """`model_step`, all `work` items of it. Raises BundleError when it reports an error."""
        arguments = (index, inputs.table, outputs.table, arena.ctypes.data, 0, work)
        if status := self._step(*arguments):
            raise BundleError(f"model_step {index} returned {status}", REBUILD_HINT)


class Pointers:
    """Buffers for the tensors of one direction, and the array of pointers C takes."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self.buffers = [aligned(byte_count(spec) + OVERREAD) for spec in specs]
        addresses = [buffer.ctypes.data for buffer in self.buffers]
        self.table = (ctypes.c_void_p * len(addresses))(*addresses)


def aligned(size: int) -> "NDArray[np.uint8]":
    """Zeroed bytes that start at a multiple of ALIGN."""
    raw = np.zeros(size + ALIGN, np.uint8)
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + size]


def byte_count(spec: TensorSpec) -> int:
    return math.prod(spec.shape) * np.dtype(spec.dtype).itemsize


def view(buffer: "NDArray[np.uint8]", spec: TensorSpec) -> "NDArray[np.generic]":
    """The tensor at the start of a buffer, in place."""
    return buffer[: byte_count(spec)].view(spec.dtype).reshape(spec.shape)


def _unload(handle: int, descriptor: int) -> None:
    """In this order: the loader knows the library by the descriptor's number, soon reused."""
    import _ctypes  # the only way to dlclose: ctypes itself never unloads

    _ctypes.dlclose(handle)
    os.close(descriptor)
