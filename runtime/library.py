"""A program's shared library in this process, and memory as its C interface wants it."""

import ctypes
import math
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.runtime.bundle import LIBRARY
from edgekiln.runtime.errors import BundleError, DeviceError, EdgeKilnError, MissingToolError
from edgekiln.runtime.manifest import REBUILD_HINT, Layer, ProgramSpec, TensorSpec
from edgekiln.runtime.points import all_layers, first_step, names

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALIGN = 64  # MODEL_ALIGN of model.h
MAX_TENSORS, MAX_STEPS, MAX_POINTS = (
    1 << 16,
    1 << 24,
    1 << 10,
)  # more is not a program's, and not worth reading
OVERREAD = 64  # bytes a kernel may read, never use, past the end of a tensor

# What MODEL_E_NO_DRIVER, _NO_DEVICE, _KERNELS, _MEMORY and _LOST of model.h are here.
GPU_ERRORS: Mapping[int, type[EdgeKilnError]] = {
    3: MissingToolError,
    4: DeviceError,
    5: BundleError,
    6: DeviceError,
    7: DeviceError,
}
_NO_DEVICE = 4


class _Step(ctypes.Structure):
    """`model_step_t` of model.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("op", ctypes.c_char_p),
        ("work", ctypes.c_int32),
    )


class _Point(ctypes.Structure):
    """`model_point_t` of model.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("first_step", ctypes.c_int32),
        ("step_count", ctypes.c_int32),
        ("macs", ctypes.c_int64),
    )


class Library:
    """libmodel.so, loaded from memory and unloaded with this object.

    Not through a temporary file: /tmp may be mounted noexec, a killed process would leave it, and
    the loader takes a new file at an inode it knows for the library it already has.
    """

    def __init__(self, content: bytes, where: str) -> None:
        """Raises BundleError: not a library for this machine, or not a program's."""
        self._where = where
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
            self._reset = getattr(library, "model_reset", None)
            self._error = _error_texts(library)
            self._set_point = getattr(library, "model_set_point", None)
            self._facts = _facts(library)
        except (AttributeError, ValueError) as error:
            raise BundleError(f"{where}: not a program's library: {error}", REBUILD_HINT) from error
        pointers = ctypes.POINTER(ctypes.c_void_p)
        self._run.argtypes = (pointers, pointers, ctypes.c_void_p)
        self._step.argtypes = (
            ctypes.c_int, pointers, pointers, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32,
        )  # fmt: skip

        if self._reset is not None:
            self._reset.argtypes, self._reset.restype = (ctypes.c_void_p,), None
        if self._set_point is not None:
            self._set_point.argtypes = (ctypes.c_void_p, ctypes.c_int32)

    @property
    def address(self) -> int:
        """Where `model_run` lies, while this object lives."""
        address = ctypes.cast(self._run, ctypes.c_void_p).value
        assert address is not None
        return address

    def check(self, spec: ProgramSpec) -> None:
        """Compare what the program's description says with what the library says of itself.

        The library reads and writes by its own numbers; memory is made by the description's.

        Raises:
            BundleError: they differ.
        """
        told = {
            "bytes of arena": spec.arena_bytes,
            "bytes of inputs": [byte_count(tensor) for tensor in spec.inputs],
            "bytes of outputs": [byte_count(tensor) for tensor in spec.outputs],
            "items of its steps": [layer.work for layer in all_layers(spec)],
            "first steps of its points": [
                first_step(spec, point) for point in range(len(names(spec)))
            ],
        }
        for what, number in told.items():
            if self._facts[what] != number:
                raise BundleError(
                    f"{self._where}: {LIBRARY} says {what}: {self._facts[what]}, its description "
                    f"{number}",
                    REBUILD_HINT,
                )
        if bool(spec.states) != (self._reset is not None):
            raise BundleError(
                f"{self._where}: {LIBRARY} and its description differ in whether it has a state",
                REBUILD_HINT,
            )

    def reset(self, arena: "NDArray[np.uint8]") -> None:
        """`model_reset`, of a program with states; nothing of any other."""
        if self._reset is not None:
            self._reset(arena.ctypes.data)

    def set_point(self, arena: "NDArray[np.uint8]", point: int) -> None:
        """`model_set_point`; nothing of a program without points. Raises BundleError."""
        if self._set_point is not None and (status := self._set_point(arena.ctypes.data, point)):
            raise BundleError(f"model_set_point {point} returned {status}", REBUILD_HINT)

    def run(self, inputs: "Pointers", outputs: "Pointers", arena: "NDArray[np.uint8]") -> None:
        """`model_run`. Raises BundleError when it reports an error; of a GPU's program also
        MissingToolError and DeviceError.
        """
        if status := self._run(inputs.table, outputs.table, arena.ctypes.data):
            raise self._failure("model_run", status)

    def step(
        self, index: int, inputs: "Pointers", outputs: "Pointers", arena: "NDArray[np.uint8]",
        work: int,
    ) -> None:  # fmt: skip
        """`model_step`, all `work` items of it. Raises as `run`."""
        arguments = (index, inputs.table, outputs.table, arena.ctypes.data, 0, work)
        if status := self._step(*arguments):
            raise self._failure(f"model_step {index}", status)

    def _failure(self, what: str, status: int) -> EdgeKilnError:
        """The error that stands for a status."""
        kind = GPU_ERRORS.get(status)
        if self._error is None or kind is None:
            return BundleError(f"{what} returned {status}", REBUILD_HINT)
        error = kind(*(text().decode(errors="replace") for text in self._error))
        if isinstance(error, DeviceError):
            error.is_absent = status == _NO_DEVICE
        return error


def _error_texts(library: ctypes.CDLL) -> "tuple[Callable[[], bytes], ...] | None":
    """What tells an error's message and its hint, of a GPU's program."""
    try:
        found = library.model_error, library.model_error_hint
    except AttributeError:
        return None
    for function in found:
        function.argtypes, function.restype = (), ctypes.c_char_p
    return found


def _facts(library: ctypes.CDLL) -> dict[str, int | list[int]]:
    """What model.h declares "for those who load the library without this file".

    Raises ValueError, as ctypes does, where a name is missing.
    """

    def number(name: str, kind: type[ctypes.c_size_t] | type[ctypes.c_int32]) -> int:
        return int(kind.in_dll(library, name).value)

    def sizes(direction: str) -> list[int]:
        count = number(f"model_{direction}_count", ctypes.c_int32)
        if not 0 <= count <= MAX_TENSORS:
            raise ValueError(f"{count} {direction}s")
        return list((ctypes.c_size_t * count).in_dll(library, f"model_{direction}_bytes"))

    count = number("model_step_count", ctypes.c_int32)
    if not 0 <= count <= MAX_STEPS:
        raise ValueError(f"{count} steps")
    # Only those have the name that have several.
    several = hasattr(library, "model_point_count")
    point_count = number("model_point_count", ctypes.c_int32) if several else 0
    if not 0 <= point_count <= MAX_POINTS:
        raise ValueError(f"{point_count} points")
    points_of = (_Point * point_count).in_dll(library, "model_points") if several else ()
    return {
        "bytes of arena": number("model_arena_bytes", ctypes.c_size_t),
        "bytes of inputs": sizes("input"),
        "bytes of outputs": sizes("output"),
        "items of its steps": [
            step.work for step in (_Step * count).in_dll(library, "model_steps")
        ],
        "first steps of its points": [point.first_step for point in points_of],
    }


class Pointers:
    """Buffers for the tensors of one direction, and the array of pointers C takes."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self.buffers = [aligned(byte_count(spec) + OVERREAD) for spec in specs]
        addresses = [buffer.ctypes.data for buffer in self.buffers]
        self.table = (ctypes.c_void_p * len(addresses))(*addresses)


def aligned(size: int) -> "NDArray[np.uint8]":
    """Zeroed bytes that start at a multiple of ALIGN. Raises BundleError: there are not so many."""
    try:
        raw = np.zeros(size + ALIGN, np.uint8)
    except (MemoryError, ValueError) as error:
        raise BundleError(
            f"the program takes {size} bytes at once, which this machine has not",
            "run it where there is more memory",
        ) from error
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + size]


def byte_count(spec: TensorSpec) -> int:
    """What a tensor takes in memory."""
    return math.prod(spec.shape) * np.dtype(spec.dtype).itemsize


def view(buffer: "NDArray[np.uint8]", spec: TensorSpec) -> "NDArray[np.generic]":
    """The tensor at the start of a buffer, in place."""
    return buffer[: byte_count(spec)].view(spec.dtype).reshape(spec.shape)


def tensor_in(memory: "NDArray[np.uint8]", layer: Layer) -> "NDArray[np.generic]":
    """A view of a layer's result in the memory it starts at, without its border, in ONNX's shape.

    An "NHWC" tensor lies as [n][top + h + bottom][left + w + right][c]. Fewer axes than four are
    (N, F): h = w = 1, c = F; and (N, T, F): h = 1, w = T, c = F; these have no border.
    """
    spec = layer.output
    assert spec is not None, layer.name
    if layer.layout != "NHWC" or len(spec.shape) != 4:
        assert not any(layer.halo), layer.name
        return view(memory, spec)
    n, c, h, w = spec.shape
    top, left, bottom, right = layer.halo
    stored = (n, top + h + bottom, left + w + right, c)
    size = math.prod(stored) * np.dtype(spec.dtype).itemsize
    pixels = memory[:size].view(spec.dtype).reshape(stored)
    return pixels[:, top : top + h, left : left + w].transpose(0, 3, 1, 2)


def _unload(handle: int, descriptor: int) -> None:
    """Close both in this order: the loader knows a library by its descriptor's number, soon
    reused.
    """
    import _ctypes  # the only way to dlclose: ctypes itself never unloads

    _ctypes.dlclose(handle)
    os.close(descriptor)
