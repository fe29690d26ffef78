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
_WEIGHTS = {4: "int8", 2: "int16"}  # by how many a lane has; floats are alone in theirs


def peaks(target: str) -> dict[Precision, float]:
    """One core's MAC/s by precision: the best of many short blocks, for noise only adds time.

    Integers are multiplied as bytes and, where the instruction set has the form, as words: the
    faster of both counts.
    """
    loaded = profile.load(target)
    mk = isa.load(loaded.isa)
    forms = [form for form in (mk, mk.filtering) if form is not None]
    return {
        "int8": max(_rate(form, loaded.tvm) for form in forms),
        "float32": _rate(isa.for_floats(mk), loaded.tvm),
    }


def _rate(mk: "MicroKernel", tvm_target: Mapping[str, object]) -> float:
    from edgekiln.compiler.aot import jit
    from edgekiln.compiler.kernels.builder import KernelBuilder
    from edgekiln.compiler.kernels.tir import loop, register, store
    from edgekiln.targets.isa.expressions import load, reinterpret

    lanes, width = mk.register, mk.k_step * mk.register
    weights = _WEIGHTS.get(mk.k_step, mk.activation)
    # So many sums at once that none waits for another's last product; the rest holds operands.
    count = mk.registers * 3 // 4
    with KernelBuilder() as k:
        w = k.tensor(width, weights)
        y = k.tensor(count * lanes, mk.accumulator)
        sums = [register(mk.accumulator, lanes) for _ in range(count)]
        for i, one in enumerate(sums):
            # From memory, and back to it at the end: LLVM can neither foresee the sums nor drop
            # them.
            store(one, 0, load(y, i * lanes, lanes), lanes)
        with loop(0, _TURNS):
            for one, other in zip(sums, [*sums[1:], sums[0]], strict=True):
                # The bits of another sum, which are others in each turn: LLVM moves products that
                # stay the same out of the loop, where an instruction set adds them apart.
                a = reinterpret(load(other, 0, lanes), mk.activation, width)
                total = mk.dot(load(one, 0, lanes), a, load(w, 0, width), lanes)
                store(one, 0, total, lanes)
        for i, one in enumerate(sums):
            store(y, i * lanes, load(one, 0, lanes), lanes)
    kernel: Kernel = k.finish()
    call = jit.load(kernel.func, tvm_target)
    arrays = np.zeros(width, weights), np.zeros(count * lanes, mk.accumulator)
    times = []
    for _ in range(_BLOCKS):
        start = time.perf_counter()
        call(*arrays)
        times.append(time.perf_counter() - start)
    # A lane of a sum takes as many products as it has operands.
    return _TURNS * count * width / min(times)
