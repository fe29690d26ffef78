"""Convolution kernels one by one: GMAC/s, and the share of what the inner loop can do.

    taskset -c 1 python benchmarks/kernels.py [TARGET]

One thread, through ctypes; the time of a call that computes nothing is taken off. A result is the
fastest of many short blocks of calls, for neighbours only ever add time. The peak is the inner loop
on data in L1, without an epilogue, measured just before the kernels.
"""

import ctypes
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekiln.compiler.aot import jit
from edgekiln.compiler.aot.codegen import compile_function
from edgekiln.compiler.ir.memory import Halo, Nhwc
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.depthwise.kernel import DepthwiseKernel
from edgekiln.compiler.kernels.epilogue.finish import RequantizeFinish
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.runtime.amx_permission import request_amx_permission
from edgekiln.targets import isa, profile
from edgekiln.targets.isa.base import MicroKernel

BLOCKS, BLOCK_SECONDS = 200, 0.002


@dataclass(frozen=True)
class KernelCase:
    """A convolution with "same" padding; `depthwise` has as many groups as channels."""

    name: str
    size: int  # input height and width
    channels: tuple[int, int]  # in, out
    kernel: int
    stride: int = 1
    depthwise: bool = False

    @property
    def out(self) -> int:
        return (self.size + 2 * (self.kernel // 2) - self.kernel) // self.stride + 1

    @property
    def macs(self) -> int:
        taps = self.kernel**2 * (1 if self.depthwise else self.channels[0])
        return self.out**2 * self.channels[1] * taps


LAYERS = (
    KernelCase("3×3 64→64, 56×56", 56, (64, 64), 3),
    KernelCase("3×3 512→512, 7×7", 7, (512, 512), 3),
    KernelCase("1×1 64→256, 56×56", 56, (64, 256), 1),
    KernelCase("1×1 256→64, 56×56", 56, (256, 64), 1),
    KernelCase("3×3 16→16, 32×32", 32, (16, 16), 3),
    KernelCase("3×3 32→32, 16×16", 16, (32, 32), 3),
    KernelCase("3×3 64→64, 8×8", 8, (64, 64), 3),
    KernelCase("3×3 3→16, 32×32", 32, (3, 16), 3),
    KernelCase("7×7/2 3→64, 224×224", 224, (3, 64), 7, stride=2),
    KernelCase("depthwise 3×3, 64, 48×48", 48, (64, 64), 3, depthwise=True),
    KernelCase("depthwise 3×3/2, 64, 48×48", 48, (64, 64), 3, stride=2, depthwise=True),
    KernelCase("dense 1280→1000", 1, (1280, 1000), 1),
    KernelCase("dense 640→128", 1, (640, 128), 1),
)


def kernel_of(layer: KernelCase, mk: MicroKernel) -> tuple[Kernel, Nhwc, Nhwc]:
    """The layer with random weights, its input and its output."""
    pad, (ic, oc) = layer.kernel // 2, layer.channels
    rng = np.random.default_rng(0)

    def image(size: int, channels: int, halo: Halo) -> Nhwc:
        return Nhwc(
            n=1, h=size, w=size, c=channels, dtype=mk.activation, scale=0.1, zero_point=0, halo=halo
        )  # fmt: skip

    x = image(layer.size, ic, Halo(top=pad, left=pad, bottom=pad, right=pad))
    y = image(layer.out, oc, Halo())
    shape = (oc, 1 if layer.depthwise else ic, layer.kernel, layer.kernel)
    common: dict[str, Any] = {  # keyword arguments of kernels
        "x": x,
        "y": y,
        "weight": rng.integers(-127, 128, shape).astype(np.int8),
        "bias": np.zeros(oc, np.int32),
        "finish": RequantizeFinish(mult=np.full(oc, 1e-3, np.float32)),
        "strides": (layer.stride, layer.stride),
        "pads": (pad, pad),
    }
    conv = DepthwiseKernel(**common) if layer.depthwise else ConvolutionKernel(**common)
    return conv.build(mk), x, y


def inner_loop(mk: MicroKernel, target: Mapping[str, object]) -> float:
    """The GMAC/s of the k loop alone, its data in L1, from the times of two lengths of k."""
    times, layers = [], []
    for channels in (256, 512):
        # What both lengths have besides the loop, such as the epilogue, is gone in the difference.
        layer = KernelCase("k loop", 4, (channels, 2 * mk.register), 1)
        kernel, x, y = kernel_of(layer, mk)
        times.append(seconds(kernel, target, (x.elements, y.elements)))
        layers.append(layer)
    return (layers[1].macs - layers[0].macs) / (times[1] - times[0]) / 1e9


def seconds(kernel: Kernel, target: Mapping[str, object], sizes: tuple[int, int]) -> float:
    """The time of one call; `sizes` are the bytes of its input and of its output."""
    compiled = compile_function(kernel.func, "kernel", target)
    entry = jit.link([compiled.object])["kernel"]
    rng = np.random.default_rng(1)
    blocks = [jit.aligned(sizes[0]), *(jit.aligned(c.nbytes) for c in kernel.constants)]
    # The border, too: what lies there does not change the time.
    blocks[0][:] = rng.integers(0, 256, blocks[0].size)
    for block, array in zip(blocks[1:], kernel.constants, strict=True):
        block[: array.nbytes] = array.reshape(-1).view(np.uint8)
    blocks.append(jit.aligned(sizes[1]))
    pointers = [ctypes.c_void_p(block.ctypes.data) for block in blocks]
    nothing, everything = (
        [*pointers, ctypes.c_int32(0), ctypes.c_int32(end)] for end in (0, kernel.work)
    )
    return _fastest(lambda: entry(*everything)) - _fastest(lambda: entry(*nothing))


def _fastest(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    # Many calls a block: the clock's own time would count beside one of a microsecond.
    calls = max(1, int(BLOCK_SECONDS / max(time.perf_counter() - start, 1e-7)))
    times = []
    for _ in range(BLOCKS):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        times.append((time.perf_counter() - start) / calls)
    return min(times)


def main(name: str = "x86-avx512-vnni") -> None:
    target = profile.load(name)
    request_amx_permission(target.features, name)
    mk = isa.load(target.isa)
    peak = inner_loop(mk, target.tvm)
    print(f"{mk.name}: the inner loop alone, {peak:.0f} GMAC/s")
    for layer in LAYERS:
        kernel, x, y = kernel_of(layer, mk)
        time_s = seconds(kernel, target.tvm, (x.elements, y.elements))
        rate = layer.macs / time_s / 1e9
        print(f"{layer.name:28} {time_s * 1e6:8.2f} µs {rate:6.0f} GMAC/s {rate / peak:6.0%}")


if __name__ == "__main__":
    main(*sys.argv[1:])
