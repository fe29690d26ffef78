"""Kernels for GPUs on whatever OpenCL device this machine has; pocl makes one of any processor."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgekiln.compiler.aot import opencl
from edgekiln.compiler.ir.memory import OVERREAD_BYTES
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets import profile

if TYPE_CHECKING:
    import pyopencl as cl

TARGET = "opencl-generic"
_SYMBOL = "kernel_of_a_test"
_GUARD = 64  # bytes on either side of what a kernel writes, which it must leave alone


def require() -> None:
    """Skip the test where there is no device."""
    cl = pytest.importorskip("pyopencl")
    try:
        cl.get_platforms()
    except cl.LogicError:
        pytest.skip("no OpenCL device here: apt-get install pocl-opencl-icd")


def load(kernel: Kernel, options: tuple[str, ...] = (), before: str = "") -> Callable[..., None]:
    """The kernel as `f(*arrays)`, in the order of its parameters; the last one is written.

    Args:
        options: for the device's compiler, e.g. which dot product there is.
        before: what stands before the program's text.
    """
    import pyopencl as cl

    context, queue = _device()
    made = opencl.compile_function(kernel.func, _SYMBOL, profile.load(TARGET).tvm)
    text = before + opencl.program_text([made.object]).decode()
    program = cl.Program(context, text).build(["-cl-std=CL1.2", *options])
    start = cl.Kernel(program, _SYMBOL)
    launch = kernel.code.launch
    assert launch is not None

    def call(*arrays: "np.ndarray[Any, Any]") -> None:
        blocks = [_block(array) for array in arrays]
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        buffers = [cl.Buffer(context, flags, hostbuf=block) for block in blocks]
        places = [each for buffer in buffers for each in (buffer, np.uint32(_GUARD))]
        size = launch.groups * launch.threads
        start(queue, (size,), (launch.threads,), *places)
        for block, buffer in zip(blocks, buffers, strict=True):
            before = block.copy()
            cl.enqueue_copy(queue, block, buffer)
            written = slice(_GUARD, _GUARD + arrays[-1].nbytes if block is blocks[-1] else _GUARD)
            before[written] = block[written]
            assert np.array_equal(before, block), "a kernel wrote outside of its result"
        block = blocks[-1][_GUARD : _GUARD + arrays[-1].nbytes]
        arrays[-1][...] = block.view(arrays[-1].dtype).reshape(arrays[-1].shape)

    return call


def _block(array: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """The array's bytes between guards, with noise where nobody may care what it is."""
    block = np.full(_GUARD + array.nbytes + max(_GUARD, OVERREAD_BYTES), 0xAA, np.uint8)
    block[_GUARD : _GUARD + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return block


@cache
def _device() -> "tuple[cl.Context, cl.CommandQueue]":
    import pyopencl as cl

    context = cl.Context([cl.get_platforms()[0].get_devices()[0]])
    return context, cl.CommandQueue(context)
