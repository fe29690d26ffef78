"""One compiled function, called with every array in memory of its own."""

import ctypes
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.benchmarks.sanitizer import caught
from edgekiln.benchmarks.sanitizer.block import (
    EDGES,
    FILLINGS,
    Edge,
    GuardedBlock,
    MemoryFaultError,
)
from edgekiln.compiler.aot import jit
from edgekiln.compiler.aot.codegen import compile_function

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tvm.tirx import PrimFunc

_SYMBOL = "kernel"
_FILLINGS: tuple[str, ...] = ("nan", "aa")  # one an edge


def load(
    func: "PrimFunc", tvm_target: Mapping[str, object], *, padded: bool = False, writes: int = 1
) -> Callable[..., None]:
    """Compile `func` and return it as `f(*arrays, *ints)`, as `jit.load` does.

    Each call is two: with arrays and scratch memory that end at forbidden pages, and with such that
    begin there, filled with something else. All arrays but the last `writes` may only be read.

    Args:
        padded: the result holds places that nobody looks at, which need not be the same.
        writes: how many results there are, the last of the arrays.

    The function it returns raises MemoryFaultError.
    """
    compiled = compile_function(func, _SYMBOL, tvm_target)
    entry = ctypes.cast(jit.link([compiled.object])[_SYMBOL], ctypes.c_void_p).value
    assert entry is not None

    def call(*args: "NDArray[np.generic] | int") -> None:
        arrays = [arg for arg in args if isinstance(arg, np.ndarray)]
        ints = [arg for arg in args if not isinstance(arg, np.ndarray)]
        found = [
            _called(entry, arrays, ints, compiled.workspace, edge, FILLINGS[filling], writes)
            for edge, filling in zip(EDGES, _FILLINGS, strict=True)
        ]
        for result, first, second in zip(arrays[-writes:], *found, strict=True):
            if not padded and not np.array_equal(first, second):
                raise MemoryFaultError("the result depends on what is in memory")
            result[...] = first.view(result.dtype).reshape(result.shape)

    return call


def _called(
    entry: int,
    arrays: "list[NDArray[np.generic]]",
    ints: list[int],
    workspace: tuple[int, ...],
    edge: Edge,
    filling: bytes,
    writes: int,
) -> "list[NDArray[np.uint8]]":
    """The bytes of the last `writes` arrays after one call."""
    operands = []
    for index, array in enumerate(arrays):
        block = GuardedBlock(f"argument {index}", array.nbytes, edge=edge, filling=filling)
        block.put(array)
        operands.append(block)
    for block in operands[:-writes]:
        block.only_read()
    scratch = [
        GuardedBlock(f"workspace {index}", size, edge=edge, filling=filling)
        for index, size in enumerate(workspace)
    ]
    blocks = [*operands, *scratch]
    words = [*(each.address for each in operands), *ints, *(each.address for each in scratch)]
    status = caught.call(entry, words, blocks)
    assert status == 0, f"the kernel returned {status}"
    for block in blocks:
        block.check()
    return [block.bytes.copy() for block in operands[-writes:]]
