"""What the arithmetic alone can do: multiply-adds on registers, nothing loaded, nothing stored."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.build.recipe import Precision
from edgekiln.targets import isa, profile

if TYPE_CHECKING:
    from edgekiln.compiler.kernels.types import Kernel
    from edgekiln.targets.isa.base import MicroKernel

_TURNS = 200_000
_BLOCKS = 40


def peaks(target: str) -> dict[Precision, float]:
    """One core's MAC/s by precision: the best of many short blocks, for noise only adds time."""
    loaded = profile.load(target)
    mk = isa.load(loaded.isa)
    return {
        "int8": _rate(mk, loaded.tvm, "int8"),
        "float32": _rate(mk, loaded.tvm, "float32"),
    }


def _rate(mk: "MicroKernel", tvm_target: Mapping[str, object], precision: Precision) -> float:
    from edgekiln.compiler.aot import jit
    from edgekiln.compiler.kernels.builder import KernelBuilder
    from edgekiln.compiler.kernels.tir import loop, register, store
    from edgekiln.targets.isa.expressions import load

    lanes = mk.register
    # As many sums at once, so that none waits for its own last product; the rest holds operands.
    accumulators = mk.registers // 2
    integer = precision == "int8"
    sums = "int32" if integer else "float32"
    with KernelBuilder() as k:
        x = k.tensor(4 * lanes, mk.activation) if integer else k.tensor(lanes, "float32")
        w = k.tensor(4 * lanes, "int8") if integer else k.tensor(lanes, "float32")
        y = k.tensor(accumulators * lanes, sums)
        acc = [register(sums, lanes) for _ in range(accumulators)]
        for one in acc:
            # From memory, and back to it at the end: LLVM can neither foresee the sums nor drop
            # them.
            store(one, 0, load(y, 0, lanes), lanes)
        with loop(0, _TURNS):
            for one in acc:
                if integer:
                    a, b = load(x, 0, 4 * lanes), load(w, 0, 4 * lanes)
                    store(one, 0, mk.dot(load(one, 0, lanes), a, b, lanes), lanes)
                else:
                    a, b = load(x, 0, lanes), load(w, 0, lanes)
                    store(one, 0, mk.fma(a, b, load(one, 0, lanes), lanes), lanes)
        for i, one in enumerate(acc):
            store(y, i * lanes, load(one, 0, lanes), lanes)
    kernel: Kernel = k.finish()
    call = jit.load(kernel.func, tvm_target)
    width = 4 * lanes if integer else lanes
    arrays = (
        np.ones(width, mk.activation if integer else np.float32),
        np.ones(width, np.int8 if integer else np.float32),
        np.zeros(accumulators * lanes, sums),
    )
    times = []
    for _ in range(_BLOCKS):
        start = time.perf_counter()
        call(*arrays)
        times.append(time.perf_counter() - start)
    # A dot product of bytes takes four to a lane: as many products as operands.
    return _TURNS * accumulators * width / min(times)
