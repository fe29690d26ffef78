"""What Arm micro-kernels share: registers of 128 bits, and vectors of up to four of them."""

from collections.abc import Callable, Sequence
from itertools import chain

from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.codes import Clip
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    by_parts,
    cast,
    const,
    inverse,
    llvm,
    load,
    maximum,
    minimum,
    reinterpret,
    shuffle,
    splat,
    vector,
)

QUAD = 4  # int32 lanes of a register
# Bytes of the four registers that TBL and TBX look into.
_TBL_ENTRIES = 64


class ArmMicroKernel(MicroKernel):
    """A vector of 16 lanes is four registers, whose results leave as one register of 16 bytes."""

    def epilogue_cost(self, lanes: int) -> float:
        """A narrower vector leaves as half a register or a quarter, by as many instructions."""
        return self.epilogue_cycles * (1 + 0.1 * (16 // lanes - 1))

    def operand(self, pixels: Sequence[Expr], step: int, lanes: int) -> Expr:
        """Return one of the words of a pixel that `x_bytes` brought, for every lane."""
        words = reinterpret(pixels[0], "int32", self.x_bytes // 4)
        word = splat(shuffle([words], [step]), lanes)
        return reinterpret(word, self.activation, 4 * lanes)

    def interleave(self, rows: Sequence[Expr], lanes: int) -> Expr:
        """ZIP bytes, then ZIP the pairs: half an instruction a row, where shifts need two."""
        pairs = [zipped(*pair, lanes) for pair in self.row_pairs(rows, lanes)]
        low, high = (reinterpret(pair, "int16", lanes) for pair in pairs)
        return reinterpret(zipped(low, high, lanes), "int8", 4 * lanes)

    def row_pairs(self, rows: Sequence[Expr], lanes: int) -> list[tuple[Expr, Expr]]:
        """Return four rows two by two; those that are missing are zero."""
        zero = splat(const(0, "int8"), lanes)
        first, second, third, fourth, *_ = *rows, zero, zero, zero
        return [(first, second), (third, fourth)]


class A64MicroKernel(ArmMicroKernel):
    """AArch64 converts with a rounding of its own choice."""

    def round_to_int(self, x: Expr, lanes: int) -> Expr:
        if lanes == 1:
            return llvm("llvm.aarch64.neon.fcvtns.i32.f32", "int32", x)

        def convert(x4: Expr) -> Expr:
            return llvm("llvm.aarch64.neon.fcvtns.v4i32.v4f32", "int32x4", x4)

        return by_register(convert, lanes, (x, QUAD))

    def clamp(self, value: Expr, low: Expr, high: Expr, lanes: int) -> Expr:
        """FMAXNM and FMINNM return the number when the other one is NaN."""
        dtype = vector("float32", lanes)
        value = llvm("llvm.maxnum", dtype, value, splat(low, lanes))
        return llvm("llvm.minnum", dtype, value, splat(high, lanes))

    def quantize(
        self, value: Expr, clip: Clip, lanes: int, order: Sequence[int] | None = None
    ) -> Expr:
        """Conversion and narrowing saturate: what is left of clipping is one look at the bytes."""
        if lanes == 1:
            return super().quantize(value, clip, lanes, order)
        if not clip.bounded:  # FCVTNS makes 0 of NaN
            low_steps = splat(clip.low_steps, lanes)
            value = llvm("llvm.maxnum", vector("float32", lanes), value, low_steps)
        words = by_register(_saturated_words, lanes, (self.round_to_int(value, lanes), QUAD))
        zero = splat(cast(clip.zero, "int16"), lanes)
        codes = _saturated_bytes(llvm("llvm.sadd.sat", vector("int16", lanes), words, zero), lanes)
        low, high = (splat(cast(bound, "int8"), lanes) for bound in (clip.low, clip.high))
        codes = minimum(maximum(codes, low), high)
        return codes if order is None else shuffle([codes], inverse(order))

    def lookup(self, table: Buffer, codes: Expr, lanes: int) -> Expr:
        """TBL and TBX look up 64 entries; TBX leaves alone what lies outside of them."""

        def step(share: Expr, size: int) -> Expr:
            return _lookup(table, share, size)

        return by_parts(step, codes, lanes, 8, 16)


def _lookup(table: Buffer, codes: Expr, lanes: int) -> Expr:
    """Look up the codes of a register, or of half of one."""
    name, dtype = f"llvm.aarch64.neon.tb{{}}4.v{lanes}i8", vector("uint8", lanes)
    found: tuple[Expr, ...] = ()
    for start in range(0, 256, _TBL_ENTRIES):
        # Four registers of entries, for a quarter of all codes.
        rows = [load(table, start + at, 16) for at in range(0, _TBL_ENTRIES, 16)]
        # Indices beyond the four registers leave what was found before.
        places = reinterpret(codes, dtype) - splat(const(start, "uint8"), lanes)
        kind = "x" if found else "l"
        found = (llvm(name.format(kind), dtype, *found, *rows, places),)
    (entries,) = found
    return reinterpret(entries, "int8", lanes)


def _saturated_words(x4: Expr) -> Expr:
    """SQXTN: narrow four int32 to int16, with saturation."""
    return llvm("llvm.aarch64.neon.sqxtn.v4i16", "int16x4", x4)


def _saturated_bytes(words: Expr, lanes: int) -> Expr:
    """SQXTN: narrow int16 to int8, with saturation."""
    name = "llvm.aarch64.neon.sqxtn.v8i8"
    if lanes == QUAD:
        return shuffle([llvm(name, "int8x8", shuffle([words, words], range(8)))], range(lanes))
    halves = [shuffle([words], range(at, at + 8)) for at in range(0, lanes, 8)]
    return shuffle([llvm(name, "int8x8", half) for half in halves], range(lanes))


def by_register(
    step: Callable[..., Expr], lanes: int, *operands: tuple[Expr, int], result: int = QUAD
) -> Expr:
    """Apply `step` to each register's share of the operands.

    Args:
        operands: vectors, each with how many of its elements belong to four lanes.
        result: elements that a step returns.
    """
    if lanes == QUAD:
        return step(*(x for x, _ in operands))
    shares = [
        step(*(shuffle([x], range(i * share, (i + 1) * share)) for x, share in operands))
        for i in range(lanes // QUAD)
    ]
    return shuffle(shares, range(lanes // QUAD * result))


def zipped(a: Expr, b: Expr, lanes: int) -> Expr:
    """Interleave two vectors: a₀ b₀ a₁ b₁ …."""
    return shuffle([a, b], [*chain(*((i, lanes + i) for i in range(lanes)))])
