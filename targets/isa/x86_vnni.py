"""x86 with VNNI: `vpdpbusd` multiplies four u8·s8 pairs and adds them to an int32 lane, exactly."""

from dataclasses import replace
from typing import TYPE_CHECKING

from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.costs import ZEN4_FILTERING, ZEN4_LOOP
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    by_parts,
    const,
    llvm,
    load,
    select,
    splat,
    vector,
)
from edgekiln.targets.isa.x86_common import PairMicroKernel, X86MicroKernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ROW = 64  # bytes of a register: the entries of a table that it holds


class VnniMicroKernel(X86MicroKernel):
    """Multiplies bytes in their own width: nothing has to be widened."""

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        return self.by_register(_vpdpbusd, lanes, (acc, 1), (a, 4), (w, 4))

    @property
    def filtering(self) -> MicroKernel:
        return VnniPairMicroKernel.of(self)


class VnniPairMicroKernel(PairMicroKernel):
    """`vpdpwssd` multiplies two s16·s16 pairs a lane, at the rate of `vpdpbusd`."""

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        return self.by_register(_vpdpwssd, lanes, (acc, 1), (a, 2), (w, 2))


class VbmiMicroKernel(VnniMicroKernel):
    """Has VPERMI2B: one of the 128 bytes in two registers, for each of 64 indices."""

    def pack_table(self, table: "NDArray[np.generic]") -> "NDArray[np.uint8]":
        return MicroKernel.pack_table(self, table)

    def lookup(self, table: Buffer, codes: Expr, lanes: int) -> Expr:
        """Look up in both halves of the table, by an index's lowest bits; its top bit says in
        which.
        """

        def step(share: Expr, size: int) -> Expr:
            rows = [load(table, start, _ROW) for start in range(0, 256, _ROW)]
            halves = (_vpermi2b(share, *rows[at : at + 2]) for at in (0, 2))
            return select(share < splat(const(128, "uint8"), size), *halves)

        return by_parts(step, codes, lanes, _ROW, _ROW)


def _vpdpbusd(acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
    # LLVM picks the VEX or the EVEX form by the target's features; the intrinsic is the same.
    return llvm(f"llvm.x86.avx512.vpdpbusd.{32 * lanes}", f"int32x{lanes}", acc, a, w)


def _vpdpwssd(acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
    return llvm(f"llvm.x86.avx512.vpdpwssd.{32 * lanes}", f"int32x{lanes}", acc, a, w)


def _vpermi2b(indices: Expr, low: Expr, high: Expr) -> Expr:
    name = f"llvm.x86.avx512.vpermi2var.qi.{8 * _ROW}"
    return llvm(name, vector("uint8", _ROW), low, indices, high)


def _avx512(kind: type[VnniMicroKernel], name: str, tuned_as: str = "") -> VnniMicroKernel:
    """What all chips with VNNI in registers of 512 bits have in common."""
    return kind(
        name=name,
        tuned_as=tuned_as,
        activation="uint8",
        lanes=(64, 32, 16, 8, 4),
        register_lanes=16,
        depthwise_registers=4,
        depthwise_rows=2,
        registers=32,
        # As on Zen 4: one dot product of 512 bits a cycle.
        dots_per_cycle=1.0,
    )


# Zen 4 cuts registers of 512 bits in two: where they are whole, Winograd's transforms take half of
# its cycles.
_WHOLE_REGISTERS = replace(
    ZEN4_FILTERING, window_cycles=65.0, result_cycles=30.0, product_cycles=30.0, weight_cycles=38.0
)
AVX512_VNNI = _avx512(VnniMicroKernel, "x86_vnni")
AVX512_VBMI = _avx512(VbmiMicroKernel, "x86_vbmi", tuned_as="x86_vnni")
# VNNI without AVX-512, as on Intel's client chips since Alder Lake: two of 256 bits a cycle. What
# filtering costs was measured on Zen 5: 1.2 times the speed of the definition with 32 and 64
# channels, the same with 128 and 256.
AVX_VNNI = VnniMicroKernel(
    name="x86_avx_vnni",
    activation="uint8",
    lanes=(32, 16, 8, 4),
    register_lanes=8,
    depthwise_registers=4,
    registers=16,
    dots_per_cycle=2.0,
    filtering_costs=replace(_WHOLE_REGISTERS, product_cycles=10.0, weight_cycles=75.0),
)
# Zen 5 with full-width pipes (AMD's Software Optimization Guide for Zen 5, 58455): a cycle has two
# dot products of 512 bits (531 GMAC/s were seen on one core) and two loads of 512 bits, or four
# narrower ones; the first-level cache has 48 KiB. Dot products and loads have grown alike, so what
# was measured on Zen 4 is the best start.
ZEN5 = replace(
    AVX512_VBMI,
    name="x86_zen5",
    dots_per_cycle=2.0,
    loop_costs=replace(ZEN4_LOOP, loads_per_cycle=4.0, near_bytes=48 << 10),
    filtering_costs=_WHOLE_REGISTERS,
)
