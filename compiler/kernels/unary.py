"""Sums and products of two float tensors, and any function of one."""

from dataclasses import dataclass, replace

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.binary import combine_row
from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.epilogue.floats import NO_CLIP, Bounds, erased
from edgekiln.compiler.kernels.function import ARITHMETIC, Function, apply
from edgekiln.compiler.kernels.sharing import itself, shared
from edgekiln.compiler.kernels.tir import (
    Index,
    KernelBuilder,
    bind,
    divmod_,
    float_const,
    for_vectors,
    load,
    loop,
    store,
)  # fmt: skip
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import Expr, MicroKernel


def _erased(binary: "FloatBinary") -> "FloatBinary":
    return replace(binary, clip=erased(binary.clip))


@dataclass(frozen=True, kw_only=True)
class FloatBinary:
    """y = function(clip(a ∘ b)), ∘ an operation of `ARITHMETIC`.

    Args:
        kind: key of `ARITHMETIC`.
        b: shaped like a; or one value a channel (h = w = 1); or one value. One image serves all.
        clip: lowest and highest value before `function`.
    """

    kind: str
    a: Nhwc
    b: Nhwc
    y: Nhwc
    clip: tuple[float, float] = NO_CLIP
    function: Function = ()

    @shared(_erased)
    def build(self, mk: MicroKernel) -> Kernel:
        with KernelBuilder() as k:
            a, b = (k.tensor(side.elements, "float32") for side in (self.a, self.b))
            bounds = Bounds(k, self.clip)
            y = k.tensor(self.y.elements, "float32")
            begin, end = k.items(self.y.n * self.y.h)

            def value(left: Expr, right: Expr, lanes: int) -> Expr:
                result = bounds.clamp(ARITHMETIC[self.kind](left, right), lanes)
                return apply(mk, self.function, result, lanes)

            with loop(begin, end) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(mk, y, self.y, n, h, float_const(0.0))
                combine_row(mk, (self.a, self.b, self.y), (a, b, y), (n, h), value)
        return k.finish()


@dataclass(frozen=True, kw_only=True)
class Map:
    """y = function(x), element by element."""

    x: Nhwc
    y: Nhwc
    function: Function

    @shared(itself)
    def build(self, mk: MicroKernel) -> Kernel:
        with KernelBuilder() as k:
            x, y = (k.tensor(side.elements, "float32") for side in (self.x, self.y))
            begin, end = k.items(self.y.n * self.y.h)
            with loop(begin, end) as item:
                n, h = divmod_(item, self.y.h)
                fill_border(mk, y, self.y, n, h, float_const(0.0))
                source, to = bind(self.x.index(n, h, 0, 0)), bind(self.y.index(n, h, 0, 0))

                def body(i: Index, lanes: int) -> None:
                    value = apply(mk, self.function, load(x, source + i, lanes), lanes)
                    store(y, to + i, value, lanes)

                for_vectors(self.y.w * self.y.c, mk.lanes, body)
        return k.finish()
