"""Kernels for GPUs on whatever OpenCL device this machine has; pocl makes one of any processor."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgekiln.compiler.aot import opencl
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets import profile
from tests.gpu_memory import GUARD, Array, on_guarded_blocks

if TYPE_CHECKING:
    import pyopencl as cl

TARGET = "opencl-generic"
_SYMBOL = "kernel_of_a_test"


def require() -> None:
    """Skip the test where there is no device."""
    cl = pytest.importorskip("pyopencl")
    try:
        cl.get_platforms()
    except cl.LogicError:
        pytest.skip("no OpenCL device here: apt-get install pocl-opencl-icd")


def load(
    kernel: Kernel, options: tuple[str, ...] = (), before: str = "", writes: int = 1
) -> Callable[..., None]:
    """The kernel as `f(*arrays)`, in the order of its parameters; the last ones are written.

    Args:
        options: for the device's compiler, e.g. which dot product there is.
        before: what stands before the program's text.
        writes: how many of the arrays are results.
    """
    import pyopencl as cl

    context, queue = _device()
    made = opencl.compile_function(kernel.func, _SYMBOL, profile.load(TARGET).tvm)
    text = before + opencl.program_text([made.object]).decode()
    program = cl.Program(context, text).build(["-cl-std=CL1.2", *options])
    start = cl.Kernel(program, _SYMBOL)
    launch = kernel.code.launch
    assert launch is not None

    def run(blocks: list[Array]) -> list[Array]:
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        buffers = [cl.Buffer(context, flags, hostbuf=block) for block in blocks]
        places = [each for buffer in buffers for each in (buffer, np.uint32(GUARD))]
        size = launch.groups * launch.threads
        start(queue, (size,), (launch.threads,), *places)
        for block, buffer in zip(blocks, buffers, strict=True):
            cl.enqueue_copy(queue, block, buffer)
        return blocks

    return on_guarded_blocks(run, writes)


@cache
def _device() -> "tuple[cl.Context, cl.CommandQueue]":
    import pyopencl as cl

    context = cl.Context([cl.get_platforms()[0].get_devices()[0]])
    return context, cl.CommandQueue(context)
