"""Softmax and layer normalization: codes in, codes out, float32 in between, a row at a time.

Numbers of one layer lie in memory, so that layers of one shape share one function. Results are
those of ONNX's float operators up to the last bits: a code differs, by one, only at a tie.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.kernels.numbers import Numbers
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
    reinterpret,
    store,
    turns,
)  # fmt: skip
from edgekiln.targets.isa.base import Expr, MicroKernel, pick, splat

if TYPE_CHECKING:
    from numpy.typing import NDArray

# 2^f for |f| ≤ 1/2, highest power first: exp2f of Moshier's Cephes library, relative error 2e-7.
_EXP2 = (
    1.535336188319500e-4, 1.339887440266574e-3, 9.618437357674640e-3, 5.550332471162809e-2,
    2.402264791363012e-1, 6.931472028550421e-1, 1.0,
)  # fmt: skip
_LOWEST_EXPONENT = -126  # of a normal float32
_MANTISSA_BITS = 23


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
            exponent = np.float32(self.x.scale * np.log2(np.e))
            numbers = Numbers(k, self.y, self.clip, (exponent, np.float32(1 / self.y.scale)))
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(self.x.elements // self.count)
            with loop(begin, end) as row:
                self._row(mk, x, y, numbers, bind(row * self.count))
        return k.finish()

    def _row(self, mk: MicroKernel, x: Buffer, y: Buffer, numbers: Numbers, at: Index) -> None:
        def code(i: Index, lanes: int) -> Expr:
            return mk.widen(load(x, at + i, lanes), lanes)

        top = bind(_fold(mk, self.count, "int32", const(-128), code, maximum))
        powers = register("float32", self.count)

        def power(i: Index, lanes: int) -> Expr:
            below = cast(code(i, lanes) - splat(top, lanes), "float32", lanes)
            value = bind(_exp2(mk, below * splat(numbers.float(0), lanes), lanes))
            store(powers, i, value, lanes)
            return value

        total = _fold(mk, self.count, "float32", float_const(0.0), power, lambda a, b: a + b)
        factor = bind(numbers.float(1) / total)

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

        total = _fold(mk, count, "int32", const(0), code, lambda a, b: a + b)
        mean = bind(cast(total, "float32") * numbers.float(1))

        def centred(i: Index, lanes: int) -> Expr:
            return cast(code(i, lanes), "float32", lanes) - splat(mean, lanes)

        def square(i: Index, lanes: int) -> Expr:
            value = bind(centred(i, lanes))
            return value * value

        squares = _fold(mk, count, "float32", float_const(0.0), square, lambda a, b: a + b)
        variance = squares * numbers.float(1)
        inverse = bind(float_const(1.0) / T.sqrt(variance + numbers.float(0)))

        def normalize(i: Index, lanes: int) -> None:
            scaled = centred(i, lanes) * splat(inverse, lanes)
            steps = mk.fma(scaled, load(gamma, i, lanes), load(beta, i, lanes), lanes)
            store(y, at + i, numbers.codes(mk, steps, lanes), lanes)

        for_vectors(count, mk.lanes, normalize)


def _fold(
    mk: MicroKernel,
    count: int,
    dtype: str,
    neutral: Expr,
    term: Callable[[Index, int], Expr],
    combine: Callable[[Expr, Expr], Expr],
) -> Expr:
    """Combine `term(start, lanes)` over 0..count-1, each element once: a scalar."""
    total = register(dtype, 1)
    store(total, 0, neutral)
    done = 0
    for lanes in (*mk.lanes, 1):
        times = (count - done) // lanes
        if not times:
            continue
        partial = register(dtype, lanes)
        store(partial, 0, splat(neutral, lanes), lanes)
        with turns(times) as i:
            value = combine(load(partial, 0, lanes), term(bind(done + i * lanes), lanes))
            store(partial, 0, value, lanes)
        done += times * lanes
        across, half = load(partial, 0, lanes), lanes // 2
        while half:
            across = bind(across)
            across = combine(pick([across], range(half)), pick([across], range(half, 2 * half)))
            half //= 2
        store(total, 0, combine(load(total, 0), across))
    return load(total, 0)


def _exp2(mk: MicroKernel, x: Expr, lanes: int) -> Expr:
    """2^x for x ≤ 0, in float32: the fraction by a polynomial, the rest into the exponent."""
    x = bind(maximum(x, splat(float_const(_LOWEST_EXPONENT), lanes)))
    whole = bind(mk.round_to_int(x, lanes))
    fraction = bind(x - cast(whole, "float32", lanes))
    power = splat(float_const(_EXP2[0]), lanes)
    for coefficient in _EXP2[1:]:
        power = mk.fma(power, fraction, splat(float_const(coefficient), lanes), lanes)
    bits = reinterpret(power, "int32", lanes) + (whole << splat(const(_MANTISSA_BITS), lanes))
    return reinterpret(bits, "float32", lanes)
