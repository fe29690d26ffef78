"""Run a compiled function on this machine, on numpy arrays: for kernel tests and the tuner."""

import ctypes
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.aot.codegen import compile_function
from edgekiln.compiler.ir.memory import OVERREAD_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tvm.tirx import PrimFunc

ALIGN = 64
_SYMBOL = "kernel"


def load(func: "PrimFunc", tvm_target: Mapping[str, object]) -> Callable[..., None]:
    """Compile `func` and return it as `f(*arrays, *ints)`, in the order of its parameters.

    Arrays are C-contiguous. They are moved to aligned memory with room to over-read, as in the
    arena, so any alignment will do; what the function wrote is copied back into the last one.
    """
    compiled = compile_function(func, _SYMBOL, tvm_target)
    entry = link([compiled.object])[_SYMBOL]
    entry.restype = ctypes.c_int32
    workspace = [aligned(size) for size in compiled.workspace]

    def call(*args: "NDArray[np.generic] | int") -> None:
        arrays = [arg for arg in args if isinstance(arg, np.ndarray)]
        moved = [_moved(array) for array in arrays]
        pointers = iter(moved)
        native = [
            ctypes.c_void_p(next(pointers).ctypes.data)
            if isinstance(arg, np.ndarray)
            else ctypes.c_int32(arg)
            for arg in args
        ]
        scratch = [ctypes.c_void_p(block.ctypes.data) for block in workspace]
        code = entry(*native, *scratch)
        assert code == 0, f"the kernel returned {code}"
        arrays[-1][...] = (
            moved[-1][: arrays[-1].nbytes].view(arrays[-1].dtype).reshape(arrays[-1].shape)
        )

    return call


def link(objects: Sequence[bytes]) -> ctypes.CDLL:
    """Link object files of this machine's own kind and load them into the process."""
    with tempfile.TemporaryDirectory(prefix="edgekiln-jit-") as home:
        names = [f"{index}.o" for index in range(len(objects))]
        for name, content in zip(names, objects, strict=True):
            Path(home, name).write_bytes(content)
        command = ["cc", "-shared", "-o", "jit.so", *names, "-lm"]
        subprocess.run(command, cwd=home, check=True, capture_output=True)
        return ctypes.CDLL(str(Path(home, "jit.so")))


def aligned(size: int) -> "NDArray[np.uint8]":
    """Allocate `size` zero bytes at a multiple of 64, with `OVERREAD_BYTES` more behind them."""
    block = np.zeros(size + OVERREAD_BYTES + ALIGN, np.uint8)
    # As many bytes as are missing to the next multiple.
    start = -block.ctypes.data % ALIGN
    return block[start : start + size + OVERREAD_BYTES]


def _moved(array: "NDArray[np.generic]") -> "NDArray[np.uint8]":
    assert array.flags.c_contiguous
    block = aligned(array.nbytes)
    block[: array.nbytes] = array.reshape(-1).view(np.uint8)
    return block
