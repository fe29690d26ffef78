"""Run kernels on this machine, on tensors as they lie in memory; numpy's and ORT's answers.

What a kernel reads or writes outside of its operands ends the test.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from edgekiln.benchmarks.sanitizer import kernel as guarded
from edgekiln.compiler.ir.memory import Halo, Nhwc, Planes
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.runtime import host
from edgekiln.targets import isa, profile
from edgekiln.targets.isa.base import MicroKernel
from tests import amx, cuda, emulated, opencl
from tests.conftest import MANY

Array = NDArray[Any]

_V3 = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64-v3"}
_V2 = _V3 | {"mcpu": "x86-64-v2"}
_VNNI, _VBMI = _V3 | {"mcpu": "cascadelake"}, _V3 | {"mcpu": "icelake-server"}
# The micro-kernels this machine may be able to run: LLVM's target and the CPU flags it needs.
# AVX-VNNI's intrinsics are AVX-512's at 256 bits: a CPU with either form runs its kernels.
TARGETS = {
    "generic_u8": (_V3, {"avx2"}),
    "generic_s8": (_V3, {"avx2"}),
    "x86_sse41": (_V2, {"sse4_1", "ssse3"}),
    "x86_avx2": (_V3, {"avx2", "fma"}),
    "x86_avx_vnni": (_VNNI, {"avx512_vnni", "avx512vl"}),
    "x86_vnni": (_VNNI, {"avx512_vnni", "avx512vl"}),
    "x86_vbmi": (_VBMI, {"avx512_vnni", "avx512vbmi", "gfni"}),
    "x86_amx": (amx.TVM, {"avx512_vnni", "avx512vbmi", "gfni"}),
}

# Other chips' micro-kernels, and the profile whose processor QEMU shows them.
EMULATED = {
    "arm_neon": "rpi4",
    "arm_dotprod": "rpi5",
    "arm_i8mm": "neoverse-v1",
    "armv7_neon": "rpi2-armv7",
    "arm_dsp": "cortex-m4",
    "arm_dsp_m7": "cortex-m7",
    "arm_mve": "cortex-m55",
    "arm_v6m": "cortex-m0plus",
    "riscv_rvv": "riscv64-rvv",
}

# GPUs' micro-kernels: an OpenCL device executes its own, this processor the text of CUDA's.
OPENCL, CUDA = ("opencl", "opencl_f32"), ("cuda", "cuda_f32")
GPUS, FLOAT_GPUS = ("opencl", "cuda"), ("opencl_f32", "cuda_f32")

# Micro-kernels that differ from another one in what things cost: its tests are theirs.
SAME_INSTRUCTIONS = {"arm_dotprod_a55": "arm_dotprod", "x86_zen5": "x86_vbmi"}

FLOAT_TARGETS = {
    "generic_f32": (_V3, {"avx2", "fma"}),
    "x86_sse_f32": (_V2, {"sse4_1", "ssse3"}),
    "x86_fma_f32": (_V3, {"avx2", "fma"}),
    "x86_avx512_f32": (_VNNI, {"avx512_vnni", "avx512vl"}),
}
FLOAT_EMULATED = {
    "arm_f32": "rpi4",
    "armv7_f32": "rpi2-armv7",
    "riscv_rvv_f32": "riscv64-rvv",
    "soft_f32": "cortex-m0plus",
}

_EVERY_TARGET, _EVERY_EMULATED = TARGETS | FLOAT_TARGETS, EMULATED | FLOAT_EMULATED

# AMX's vectors are x86_vbmi's, and its tiles have tests of their own.
_VECTORS = [name for name in TARGETS if name != "x86_amx"]
# Under QEMU every call is a process: a test of all kernels there is a slow one.
everywhere = pytest.mark.parametrize(
    "name",
    [*_VECTORS, *(pytest.param(name, marks=pytest.mark.slow) for name in (*EMULATED, *GPUS))],
)
here = pytest.mark.parametrize("name", _VECTORS)
floats_here = pytest.mark.parametrize("name", FLOAT_TARGETS)
floats_everywhere = pytest.mark.parametrize(
    "name",
    [
        *FLOAT_TARGETS,
        *FLOAT_EMULATED,
        *(pytest.param(n, marks=pytest.mark.slow) for n in FLOAT_GPUS),
    ],
)
on_arm = pytest.mark.parametrize("name", EMULATED)
_checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
# Six micro-kernels: 30 cases an operation, by --hypothesis-profile=many 200 that are always new.
# Fewer under QEMU, which takes longer.
_many = settings.get_current_profile_name() == MANY
quick = settings(
    max_examples=40 if _many else 5, deadline=None, derandomize=not _many,
    suppress_health_check=_checks,
)  # fmt: skip
emulated_quick = settings(quick, max_examples=2)
emulated_thorough = settings(quick, max_examples=60, derandomize=False)
thorough = settings(max_examples=40, deadline=None, suppress_health_check=_checks)


def microkernel(name: str) -> MicroKernel:
    if name in OPENCL:
        opencl.require()
    elif name in CUDA:
        cuda.require()
    elif name in _EVERY_EMULATED:
        emulated.require(profile.load(_EVERY_EMULATED[name]))
    elif missing := _EVERY_TARGET[name][1] - host.cpu_flags():
        pytest.skip(f"this CPU lacks {', '.join(sorted(missing))}")
    elif name == "x86_amx":
        amx.ready()
    return isa.load(name)


@dataclass(frozen=True)
class Codes:
    """Codes in ONNX's order (n, c, h, w), and where they lie."""

    tensor: Nhwc
    values: Array

    def memory(self) -> Array:
        """The tensor's bytes, border included."""
        t = self.tensor
        block = np.full(t.elements, t.zero_point, t.dtype)
        interior(t, block)[...] = self.values.transpose(0, 2, 3, 1)
        return block


def interior(t: Nhwc, memory: Array) -> Array:
    """(n, h, w, c) view of what is not border."""
    rows, columns = t.halo.top + t.h + t.halo.bottom, t.halo.left + t.w + t.halo.right
    image = memory.reshape(t.n, rows, columns, t.c)
    return image[:, t.halo.top : t.halo.top + t.h, t.halo.left : t.halo.left + t.w]


def bounds(dtype: str) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def run(
    kernel: Kernel, name: str, inputs: list[Array], out: Nhwc | Planes, pieces: int = 3,
    *, padded: bool = False,
) -> Array:  # fmt: skip
    """Run all items in up to `pieces` calls, last one first, and return the output's memory.

    It starts as noise, so an element nobody writes shows.

    Args:
        padded: the output holds places that nobody looks at, such as columns of packed weights.
    """
    memory = noise(out)
    call = loaded(kernel, name, padded=padded)
    if not kernel.work:
        call(*inputs, *kernel.constants, memory)
        return memory
    cuts = np.unique(np.linspace(0, kernel.work, pieces + 1).astype(int))
    for begin, end in reversed(list(pairwise(cuts))):
        call(*inputs, *kernel.constants, memory, int(begin), int(end))
    return memory


def noise(out: Nhwc | Planes) -> Array:
    """What lies in the output's memory before it is written."""
    dtype = out.dtype if isinstance(out, Nhwc) else "float32"
    result = np.random.default_rng(7).integers(0, 255, out.elements * np.dtype(dtype).itemsize)
    return result.astype(np.uint8).view(dtype)


def loaded(
    kernel: Kernel, name: str, *, padded: bool = False, writes: int = 1
) -> Callable[..., None]:
    """The kernel's function, compiled; of cases that share it, once. It has `writes` results."""
    key = (kernel.code.signature, name)
    if key not in _LATEST:
        if name in _EVERY_EMULATED:
            target = profile.load(_EVERY_EMULATED[name])
            call = emulated.load(kernel.func, target, writes=writes)
        elif kernel.code.launch:
            call = (cuda if name in CUDA else opencl).load(kernel, writes=writes)
        else:
            tvm = _EVERY_TARGET[name][0]
            call = guarded.load(kernel.func, tvm, padded=padded, writes=writes)
        _LATEST.clear()
        _LATEST[key] = call
    return _LATEST[key]


_LATEST: dict[tuple[str, str], Callable[..., None]] = {}


def assert_codes(memory: Array, expected: Codes) -> None:
    """The same codes and the same border, to the last bit."""
    np.testing.assert_array_equal(memory, expected.memory())


def requantized(value: Array, y: Nhwc, clip: tuple[int, int]) -> Array:
    """float32 steps → codes: clamp, round half to even, add the zero point."""
    assert value.dtype == np.float32
    low, high = (np.float32(bound - y.zero_point) for bound in clip)
    codes = np.rint(np.clip(value, low, high)).astype(np.int32) + y.zero_point
    return codes.astype(y.dtype)


def summed(a: Codes, b: Codes, y: Nhwc, clip: tuple[int, int]) -> Array:
    """The codes of a + b, with one rounding in fma (64 bits of mantissa hold the exact sum)."""
    of_a, of_b = (np.float32(t.tensor.scale / y.scale) for t in (a, b))
    right = (b.values.astype(np.int32) - b.tensor.zero_point).astype(np.float32) * of_b
    left = (a.values.astype(np.int32) - a.tensor.zero_point).astype(np.longdouble) * of_a
    return requantized((left + right).astype(np.float32), y, clip)


def ort(op: str, inputs: dict[str, Array], **attributes: Any) -> Array:
    """One ONNX operator on ONNX Runtime."""
    import onnx
    import onnxruntime
    from onnx import helper

    def info(name: str, array: Array) -> "onnx.ValueInfoProto":
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        return helper.make_tensor_value_info(name, kind, array.shape)

    given, inputs = inputs, _exactly(op, inputs)
    out = helper.make_empty_tensor_value_info("y")
    graph = helper.make_graph(
        [helper.make_node(op, list(inputs), ["y"], **attributes)],
        "one",
        [info(name, array) for name, array in inputs.items()],
        [out],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {name: np.asarray(array) for name, array in inputs.items()}
    result: Array = session.run(None, feed)[0]
    if op == "QLinearConv" and given["y_zero"].dtype == np.int8:
        return (result.astype(np.int16) - 128).astype(np.int8)
    return result


def _exactly(op: str, inputs: dict[str, Array]) -> dict[str, Array]:
    """The same convolution with every code and zero point that has a sign 128 up, in bytes without
    one: of weights with a sign ONNX Runtime adds pairs of products in 16 bits where there is no
    VNNI, and it takes weights without one only beside an input and an output without one.
    """
    if op != "QLinearConv":
        return inputs
    return {
        name: (array.astype(np.int16) + 128).astype(np.uint8) if array.dtype == np.int8 else array
        for name, array in ((name, np.asarray(array)) for name, array in inputs.items())
    }


def halo(border: int, top: int, left: int, bottom: int, right: int) -> Halo:
    """A border at least as large as asked for; `border` picks by how much larger each side is."""
    more = {0: (0, 0, 0, 0), 1: (1, 1, 1, 1), 2: (0, 2, 1, 0), 3: (2, 0, 0, 1)}[border]
    return Halo(
        top=top + more[0], left=left + more[1], bottom=bottom + more[2], right=right + more[3]
    )
