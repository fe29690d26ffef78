"""What GPUs offer a kernel: threads, each of which computes like a small processor.

Expressions call functions whose names begin with `ek_`. The text of a program defines them in its
own language (`runtime/c/opencl/prelude.cl`, `runtime/c/cuda/prelude.cuh`), with the dot product
that the device has.
"""

from dataclasses import dataclass, replace

from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, reinterpret, splat, vector
from edgekiln.targets.isa.float32 import Float32MicroKernel
from edgekiln.targets.isa.words import ScalarWords

WORD = 4  # bytes of which a dot product takes one word from each side


def call(name: str, dtype: str, lanes: int, *args: Expr) -> Expr:
    """Call a function of the program's text: `name`, or with several lanes name and lanes."""
    from tvm.script.ir_builder import tirx as T

    result: Expr = T.call_extern(
        vector(dtype, lanes), name if lanes == 1 else f"{name}{lanes}", *args
    )
    return result


@dataclass(frozen=True, kw_only=True)
class GpuMicroKernel(MicroKernel):
    """A thread works value by value; kernels that are made for GPUs take four channels at once.

    Args:
        group_threads: of a group.
        busy: how many threads keep a chip of this kind busy.
    """

    group_threads: int
    busy: int

    @property
    def group(self) -> int:
        return self.group_threads

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        assert lanes == 1, "a thread's sums are scalars"
        return call("ek_dot", "int32", 1, acc, reinterpret(a, "int32"), reinterpret(w, "int32"))

    def round_to_int(self, x: Expr, lanes: int) -> Expr:
        return call("ek_round", "int32", lanes, x)

    def clamp(self, value: Expr, low: Expr, high: Expr, lanes: int) -> Expr:
        # Of NaN and a number these functions choose the number.
        raised = call("ek_fmax", "float32", lanes, value, splat(low, lanes))
        return call("ek_fmin", "float32", lanes, raised, splat(high, lanes))


class GpuFloat32(Float32MicroKernel, GpuMicroKernel):
    """A multiply-add for each product."""


class GpuWords(ScalarWords, GpuMicroKernel):
    """A product in int32 for each two codes."""


# Groups of 64: two of NVIDIA's warps, one wave of Adreno's and AMD's, four of Mali's warps; every
# OpenCL device takes as many (CL_DEVICE_MAX_WORK_GROUP_SIZE of the smallest is 64 and more).
OPENCL = GpuMicroKernel(
    name="opencl",
    activation="int8",
    lanes=(1,),
    byte_lanes=(1,),
    registers=64,
    group_threads=64,
    busy=4096,
)
OPENCL_F32 = GpuFloat32(
    name="opencl_f32",
    activation="float32",
    lanes=(1,),
    byte_lanes=(1,),
    k_step=1,
    x_bytes=1,
    registers=64,
    group_threads=64,
    busy=4096,
)
OPENCL_W16 = replace(GpuWords(**vars(OPENCL_F32)), name="opencl_w16", activation="int16")
# NVIDIA's chips have from 8 multiprocessors (Jetson Orin Nano) to 132 (H100), each with up to 1536
# or 2048 threads: so many are 32 warps on each of the smallest, two of the largest. Not measured.
CUDA = replace(OPENCL, name="cuda", busy=8192)
CUDA_F32 = replace(OPENCL_F32, name="cuda_f32", busy=8192)
CUDA_W16 = replace(OPENCL_W16, name="cuda_w16", busy=8192)
