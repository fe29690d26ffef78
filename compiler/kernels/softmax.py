"""Softmax and layer normalization of float rows."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.kernels.fold import fold
from edgekiln.compiler.kernels.function import Function, apply
from edgekiln.compiler.kernels.sharing import itself, shared
from edgekiln.compiler.kernels.tir import (
    Buffer,
    Index,
    KernelBuilder,
    bind,
    float_const,
    for_vectors,
    load,
    loop,
    maximum,
    store,
    turns,
)  # fmt: skip
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.compiler.kernels.vector_math import exp
from edgekiln.targets.isa.base import Expr, MicroKernel, splat

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True, kw_only=True)
class FloatSoftmax:
    """y = exp(x - max) / Σ exp(x - max) over `rows` rows of `count` values side by side."""

    rows: int
    count: int

    @shared(itself)
    def build(self, mk: MicroKernel) -> Kernel:
        with KernelBuilder() as k:
            x = k.tensor(self.rows * self.count, "float32")
            y = k.tensor(self.rows * self.count, "float32")
            begin, end = k.items(self.rows)
            with loop(begin, end) as row:
                self._row(mk, x, y, bind(row * self.count))
        return k.finish()

    def _row(self, mk: MicroKernel, x: Buffer, y: Buffer, at: Index) -> None:
        def value(i: Index, lanes: int) -> Expr:
            return load(x, at + i, lanes)

        top = bind(fold(mk.lanes, self.count, "float32", float_const(_LOWEST), value, maximum))

        def power(i: Index, lanes: int) -> Expr:
            result = bind(exp(mk, value(i, lanes) - splat(top, lanes), lanes))
            store(y, at + i, result, lanes)
            return result

        total = fold(mk.lanes, self.count, "float32", float_const(0.0), power, lambda a, b: a + b)
        factor = bind(float_const(1.0) / total)
        done = 0  # each power once: overlapping vectors would scale some twice
        for lanes in (*mk.lanes, 1):
            times = (self.count - done) // lanes
            if not times:
                continue
            with turns(times) as i:
                here = bind(at + done + i * lanes)
                store(y, here, load(y, here, lanes) * splat(factor, lanes), lanes)
            done += times * lanes


def _erased(norm: "FloatLayerNorm") -> "FloatLayerNorm":
    return replace(norm, gamma=np.zeros_like(norm.gamma), beta=np.zeros_like(norm.beta))


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatLayerNorm:
    """y = function((x - mean) / √(variance + epsilon) · gamma + beta) over `rows` rows."""

    rows: int
    gamma: "NDArray[np.float32]"
    beta: "NDArray[np.float32]"
    epsilon: float
    function: Function = ()

    @shared(_erased)
    def build(self, mk: MicroKernel) -> Kernel:
        count = self.gamma.size
        with KernelBuilder() as k:
            x = k.tensor(self.rows * count, "float32")
            gamma, beta = k.constant(self.gamma), k.constant(self.beta)
            y = k.tensor(self.rows * count, "float32")
            begin, end = k.items(self.rows)
            with loop(begin, end) as row:
                self._row(mk, (x, gamma, beta, y), bind(row * count))
        return k.finish()

    def _row(self, mk: MicroKernel, buffers: tuple[Buffer, ...], at: Index) -> None:
        from tvm.script.ir_builder import tirx as T

        x, gamma, beta, y = buffers
        count = self.gamma.size
        share = float_const(1 / count)

        def value(i: Index, lanes: int) -> Expr:
            return load(x, at + i, lanes)

        def add(a: Expr, b: Expr) -> Expr:
            return a + b

        mean = bind(fold(mk.lanes, count, "float32", float_const(0.0), value, add) * share)

        def centred(i: Index, lanes: int) -> Expr:
            return value(i, lanes) - splat(mean, lanes)

        def square(i: Index, lanes: int) -> Expr:
            difference = bind(centred(i, lanes))
            return difference * difference

        variance = fold(mk.lanes, count, "float32", float_const(0.0), square, add) * share
        inverse = bind(float_const(1.0) / T.sqrt(variance + float_const(self.epsilon)))

        def normalize(i: Index, lanes: int) -> None:
            scaled = centred(i, lanes) * splat(inverse, lanes)
            result = mk.fma(scaled, load(gamma, i, lanes), load(beta, i, lanes), lanes)
            store(y, at + i, apply(mk, self.function, result, lanes), lanes)

        for_vectors(count, mk.lanes, normalize)
