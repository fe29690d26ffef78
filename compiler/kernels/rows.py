"""Softmax and layer normalization: codes in, codes out, float32 in between, a row at a time.

Numbers of one layer lie in memory, so that layers of one shape share one function. Results are
those of ONNX's float operators up to the last bits: a code differs, by one, only at a tie.
"""

import operator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.kernels.fold import fold
from edgekiln.compiler.kernels.numbers import Numbers, all_codes
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.spec import Kernel, Nhwc
from edgekiln.compiler.kernels.tir import (
    Buffer,
    Index,
    KernelBuilder,
    bind,
    cast,
    const,
    float_const,
    for_vectors,
    load,
    loop,
    maximum,
    register,
    store,
)  # fmt: skip
from edgekiln.targets.isa.base import Expr, MicroKernel, splat

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _erased(softmax: "Softmax") -> "Softmax":
    return replace(softmax, x=softmax.x.unscaled, y=softmax.y.unscaled, clip=(0, 0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Softmax:
    """y = exp(x - max) / Σ exp(x - max) over rows of `count` values that lie side by side."""

    x: Nhwc
    y: Nhwc
    count: int
    clip: tuple[int, int]

    @shared(_erased)
    def build(self, mk: MicroKernel) -> Kernel:
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            # A code can be no more than 255 below the largest: the powers are known.
            table = k.constant(np.array(mk.powers(np.exp(-self.x.scale)), np.float32))
            numbers = Numbers(k, self.y, self.clip, (np.float32(1 / self.y.scale),))
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(self.x.elements // self.count)
            with loop(begin, end) as row:
                self._row(mk, (x, table, y), numbers, bind(row * self.count))
        return k.finish()

    def _row(
        self, mk: MicroKernel, buffers: tuple[Buffer, ...], numbers: Numbers, at: Index
    ) -> None:
        x, table, y = buffers
        lowest = cast(const(all_codes(self.x.dtype)[0]), self.x.dtype)

        def code(i: Index, lanes: int) -> Expr:
            return load(x, at + i, lanes)

        largest = fold(mk.byte_lanes, self.count, self.x.dtype, lowest, code, maximum)
        top = bind(cast(largest, "int32"))
        powers = register("float32", self.count)

        def power(i: Index, lanes: int) -> Expr:
            below = splat(top, lanes) - mk.widen(code(i, lanes), lanes)
            value = bind(mk.power(table, below, lanes))
            store(powers, i, value, lanes)
            return value

        total = fold(mk.lanes, self.count, "float32", float_const(0.0), power, operator.add)
        factor = bind(numbers.float(0) / total)

        def quantize(i: Index, lanes: int) -> None:
            steps = load(powers, i, lanes) * splat(factor, lanes)
            store(y, at + i, numbers.codes(mk, steps, lanes), lanes)

        for_vectors(self.count, mk.lanes, quantize)


def _erased_norm(norm: "LayerNorm") -> "LayerNorm":
    return replace(
        norm,
        x=norm.x.unscaled,
        y=norm.y.unscaled,
        gamma=np.zeros_like(norm.gamma),
        beta=np.zeros_like(norm.beta),
        epsilon=0.0,
        clip=(0, 0),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerNorm:
    """y = (x - mean) / √(variance + epsilon) · gamma + beta over rows of len(gamma) values."""

    x: Nhwc
    y: Nhwc
    gamma: "NDArray[np.float32]"
    beta: "NDArray[np.float32]"
    epsilon: float
    clip: tuple[int, int]

    @shared(_erased_norm)
    def build(self, mk: MicroKernel) -> Kernel:
        count = self.gamma.size
        with KernelBuilder() as k:
            x = k.tensor(self.x.elements, self.x.dtype)
            of_y = np.float64(self.y.scale)
            gamma = k.constant((self.gamma / of_y).astype(np.float32))
            beta = k.constant((self.beta / of_y).astype(np.float32))
            # In units of x's step: the zero point leaves with the mean.
            small = np.float32(self.epsilon / self.x.scale**2)
            numbers = Numbers(k, self.y, self.clip, (small, np.float32(1 / count)))
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(self.x.elements // count)
            with loop(begin, end) as row:
                self._row(mk, (x, gamma, beta, y), numbers, bind(row * count))
        return k.finish()

    def _row(
        self, mk: MicroKernel, buffers: tuple[Buffer, ...], numbers: Numbers, at: Index
    ) -> None:
        from tvm.script.ir_builder import tirx as T

        x, gamma, beta, y = buffers
        count = self.gamma.size

        def code(i: Index, lanes: int) -> Expr:
            return mk.widen(load(x, at + i, lanes), lanes)

        total = fold(mk.lanes, count, "int32", const(0), code, operator.add)
        mean = bind(cast(total, "float32") * numbers.float(1))

        def centred(i: Index, lanes: int) -> Expr:
            return cast(code(i, lanes), "float32", lanes) - splat(mean, lanes)

        def square(i: Index, lanes: int) -> Expr:
            value = bind(centred(i, lanes))
            return value * value

        squares = fold(mk.lanes, count, "float32", float_const(0.0), square, operator.add)
        variance = squares * numbers.float(1)
        inverse = bind(float_const(1.0) / T.sqrt(variance + numbers.float(0)))

        def normalize(i: Index, lanes: int) -> None:
            scaled = centred(i, lanes) * splat(inverse, lanes)
            steps = mk.fma(scaled, load(gamma, i, lanes), load(beta, i, lanes), lanes)
            store(y, at + i, numbers.codes(mk, steps, lanes), lanes)

        for_vectors(count, mk.lanes, normalize)
