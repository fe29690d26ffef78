"""What x86 micro-kernels share. A wide vector is two or four registers: bytes enter them by unpack
instructions and leave by pack instructions, which work on every 128-bit part of a register alike.
"""

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Self, TypeVar

from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.codes import Clip, Divisor, Floats
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    by_parts,
    cast,
    const,
    float_const,
    llvm,
    load,
    maximum,
    minimum,
    reinterpret,
    select,
    shuffle,
    splat,
    vector,
)
from edgekiln.targets.isa.x86_packing import Packed, pack, unpack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PART = 4  # int32 lanes in 128 bits
_ROW = 16  # bytes in 128 bits: the entries of a table that one instruction looks up
_SATURATED = 32767.0  # from here on every code is the highest
# A float32 of this size counts whole numbers in its second byte; its first one, the highest.
_EXCESS, _EXCESS_BYTE = 32768, 0x47

K = TypeVar("K", bound=MicroKernel)


class X86MicroKernel(MicroKernel):
    """Rounds with the processor's own mode (half to even): one instruction instead of two."""

    @property
    def sums_as_floats(self) -> bool:
        return True

    def round_to_int(self, x: Expr, lanes: int) -> Expr:
        return self.by_register(_round, lanes, (x, 1))

    def quotient(self, x: Expr, divisor: Divisor, lanes: int) -> Expr:
        """What is too small may become NaN: cvtps2dq makes the lowest int32 of either."""
        return self.product(minimum(splat(divisor.most, lanes), x), divisor, lanes)

    def quantize(
        self, value: Expr, clip: Clip, lanes: int, order: Sequence[int] | None = None
    ) -> Expr:
        """Packing saturates: what is left of clipping is one look at the bytes."""
        one = self.width(lanes) == 1
        if one and not clip.rectified:
            return super().quantize(value, clip, lanes, order)
        if not clip.bounded:  # cvtps2dq makes the lowest int32 of what is too large, and of NaN
            value = minimum(splat(float_const(_SATURATED), lanes), value)
        whole = self.round_to_int(value, lanes)
        codes = self._saturated(whole, lanes) if one else self._packed(whole, clip, lanes, order)
        if clip.saturating:
            return codes
        low, high = (splat(cast(bound, "uint8"), lanes) for bound in (clip.low, clip.high))
        return minimum(codes if clip.rectified else maximum(codes, low), high)

    def _saturated(self, whole: Expr, lanes: int) -> Expr:
        """Convert int32 to uint8 in one register. LLVM knows VPMOVUSDB by this form."""
        least, most = (splat(const(bound), lanes) for bound in (0, 255))
        return self.narrow(minimum(maximum(whole, least), most), lanes)

    def _packed(self, whole: Expr, clip: Clip, lanes: int, order: Sequence[int] | None) -> Expr:
        """Convert int32 to uint8 and add the zero point, from several registers to one."""
        size = self.register
        dwords = [
            Packed(whole, order or range(lanes)).part(at, size) for at in range(0, lanes, size)
        ]
        pairs = zip(dwords[::2], dwords[1::2], strict=True)
        words = [pack("packssdw", 32, *pair) for pair in pairs]
        if not clip.rectified:
            zero = splat(cast(clip.zero, "int16"), 2 * size)
            words = [pair.plus(zero) for pair in words]
        if len(words) > 1:
            return pack("packuswb", 16, *words).in_order()
        # Two registers made one of words: its halves are what PACKUSWB takes, unless they are
        # smaller than any register.
        (joined,) = words
        if size == PART:
            return pack("packuswb", 16, joined, joined).part(0, lanes).in_order()
        return pack("packuswb", 16, *(joined.part(at, size) for at in (0, size))).in_order()

    def interleave(self, rows: Sequence[Expr], lanes: int) -> Expr:
        if self.width(lanes) == 1:
            return super().interleave(rows, lanes)
        zero = splat(const(0, "uint8"), lanes)
        a, b, c, d, *_ = *rows, zero, zero, zero
        halves = (0, 1) if lanes >= _ROW else (0,)
        first = [unpack(a, b, half, 1, lanes) for half in halves]
        second = [unpack(c, d, half, 1, lanes) for half in halves]
        if self.width(lanes) == len(halves) == 2:  # registers half full: join them
            first, second = ([shuffle(both, range(2 * lanes))] for both in (first, second))
        registers = [
            unpack(*pair, half, 2, 4 * self.register)
            for pair in zip(first, second, strict=True)
            for half in (0, 1)
        ]
        return reinterpret(shuffle(registers, range(4 * lanes)), self.activation, 4 * lanes)

    def interleaved(self, lanes: int) -> Sequence[int] | None:
        """The lanes as unpacking leaves them; packing brings them back to their places."""
        if self.width(lanes) == 1:
            return None
        groups = max(1, lanes // _ROW)  # of a row's bytes, 128 bits each
        return [
            16 * (part % groups) + 8 * (part // groups) + 4 * register + lane
            for register in range(self.width(lanes))
            for part in range(self.register // PART)
            for lane in range(PART)
        ]

    def floats(self, x: Expr, lanes: int) -> Floats:
        """Unpacked between constant bytes, a code is the lowest integer bits of a float32."""
        if self.width(lanes) == 1:
            return super().floats(x, lanes)
        zero, top = (splat(const(byte, "uint8"), lanes) for byte in (0, _EXCESS_BYTE))
        bytes_ = self.interleave([zero, x, zero, top], lanes)
        value = reinterpret(bytes_, "float32", lanes)
        return Floats(value, _EXCESS, self.interleaved(lanes))

    def pack_table(self, table: "NDArray[np.generic]") -> "NDArray[np.uint8]":
        """Return rows of 16 entries, each but the first of a half XORed with the row before it."""
        halves = super().pack_table(table).reshape(2, 8, _ROW)
        packed = halves.copy()
        packed[:, 1:] ^= halves[:, :-1]
        return packed.reshape(-1)

    def lookup(self, table: Buffer, codes: Expr, lanes: int) -> Expr:
        """PSHUFB finds one of 16 entries, and 0 where the top bit of an index is set.

        So in either half of the table the rows up to a code's own answer; their XOR is its entry.
        """

        def step(share: Expr, size: int) -> Expr:
            return _lookup(table, share, size)

        return by_parts(step, codes, lanes, _ROW, 4 * self.register)

    def powers(self, base: float) -> list[float]:
        """Return a register of powers for each group of an exponent's bits that picks a lane."""
        lanes, bits = self.register, self.register.bit_length() - 1
        return [base ** (index << shift) for shift in range(0, 8, bits) for index in range(lanes)]

    def power(self, table: Buffer, exponent: Expr, lanes: int) -> Expr:
        """VPERMPS looks only at an index's lowest bits; the powers of the groups are multiplied."""
        size, bits = self.register, self.register.bit_length() - 1

        def step(share: Expr, _: int) -> Expr:
            shifts = range(0, 8, bits)
            rows = (load(table, group * size, size) for group in range(len(shifts)))
            factors = (
                _permuted(row, share >> splat(const(shift), size) if shift else share, size)
                for row, shift in zip(rows, shifts, strict=True)
            )
            return reduce(operator.mul, factors)

        return by_parts(step, exponent, lanes, size, size)

    def epilogue_cost(self, lanes: int) -> float:
        # Registers are narrowed together, and fill one store.
        return self.epilogue_cycles * {1: 1.0, 2: 0.7}.get(self.width(lanes), 0.6)

    def by_register(
        self, step: Callable[..., Expr], lanes: int, *operands: tuple[Expr, int]
    ) -> Expr:
        """Apply `step` to each register's share of the operands; its results are laid end to end.

        Args:
            step: gets its share of each operand, and how many lanes that is.
            operands: vectors, each with how many of its elements belong to a lane.
        """
        size = self.register
        if lanes <= size:
            return step(*(x for x, _ in operands), lanes)
        shares = [
            step(*(shuffle([x], range(at * n, (at + size) * n)) for x, n in operands), size)
            for at in range(0, lanes, size)
        ]
        return shuffle(shares, range(lanes))


class PairMicroKernel(X86MicroKernel):
    """Operands of a dot product are words: a pair of them a lane."""

    @classmethod
    def of(cls, mk: MicroKernel, dots_per_cycle: float | None = None) -> Self:
        """The form of an instruction set that multiplies bytes."""
        return cls(
            name=f"{mk.name}_pairs",
            activation="int16",
            lanes=mk.lanes,
            k_step=2,
            x_bytes=2,
            register_lanes=mk.register_lanes,
            registers=mk.registers,
            dots_per_cycle=dots_per_cycle or mk.dots_per_cycle,
        )

    def operand(self, pixels: Sequence[Expr], step: int, lanes: int) -> Expr:
        pair = reinterpret(pixels[step], "int32")
        return reinterpret(splat(pair, lanes), self.activation, 2 * lanes)


def _round(x: Expr, lanes: int) -> Expr:
    if lanes == 16:
        passthru, mask, current_mode = splat(const(0), 16), const(-1, "int16"), const(4)
        name = "llvm.x86.avx512.mask.cvtps2dq.512"
        return llvm(name, "int32x16", x, passthru, mask, current_mode)
    if lanes == 8:
        return llvm("llvm.x86.avx.cvt.ps2dq.256", "int32x8", x)
    if lanes == 4:
        return llvm("llvm.x86.sse2.cvtps2dq", "int32x4", x)
    assert lanes == 1, lanes
    return llvm("llvm.x86.sse.cvtss2si", "int32", splat(x, 4))


def _lookup(table: Buffer, codes: Expr, lanes: int) -> Expr:
    """Look up `lanes` bytes: one register of 128, 256 or 512 bits."""
    name = {16: "ssse3.pshuf.b.128", 32: "avx2.pshuf.b", 64: "avx512.pshuf.b.512"}[lanes]
    # The top bit says which half; it would make PSHUFB answer 0.
    within = codes & splat(const(127, "uint8"), lanes)
    found = []
    for half in (0, 128):
        rows = [
            llvm(
                f"llvm.x86.{name}",
                vector("uint8", lanes),
                shuffle([load(table, half + start, _ROW)] * (lanes // _ROW), range(lanes)),
                within - splat(const(start, "uint8"), lanes),
            )
            for start in range(0, 128, _ROW)
        ]
        # The XOR of all rows up to a code's own is its entry.
        found.append(reduce(operator.xor, rows))
    return select(codes < splat(const(128, "uint8"), lanes), *found)


def _permuted(values: Expr, indices: Expr, lanes: int) -> Expr:
    """VPERMPS: return values[indices], the indices by their lowest bits."""
    name = {8: "avx2.permps", 16: "avx512.permvar.sf.512"}[lanes]
    return llvm(f"llvm.x86.{name}", vector("float32", lanes), values, indices)


def interleaving(kind: type[K], mk: MicroKernel, k_step: int) -> K:
    """The form of a micro-kernel that takes `k_step` interleaved rows of an image."""
    return kind(
        name=mk.name,
        activation=mk.activation,
        lanes=mk.lanes,
        k_step=k_step,
        register_lanes=mk.register_lanes,
        registers=mk.registers,
    )
