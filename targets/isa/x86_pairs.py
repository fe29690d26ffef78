"""x86's PMADDUBSW: two products of bytes in 16 bits, for weights of which no pair is too large."""

from edgekiln.targets.isa.expressions import Expr, const, llvm, reinterpret, shuffle, splat
from edgekiln.targets.isa.x86_common import PART, X86MicroKernel

_WINDOW = 16  # bytes in which PSHUFB looks


class PairedByteMicroKernel(X86MicroKernel):
    """PMADDUBSW adds two products in 16 bits and saturates, PMADDWD with ones widens the sums."""

    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        return self.by_register(_dot, lanes, (acc, 1), (a, 4), (w, 4))

    def picked(self, window: Expr, places: Expr, lanes: int) -> Expr:
        size = min(lanes, self.register)
        wide = shuffle([window] * (size // PART), range(4 * size))
        four = reinterpret(splat(places, size), "uint8", 4 * size)
        name = {PART: "ssse3.pshuf.b.128", 2 * PART: "avx2.pshuf.b"}[size]
        # Every 128 bits of a register hold the same window.
        found = llvm(f"llvm.x86.{name}", f"uint8x{4 * size}", wide, four)
        return shuffle([found] * (lanes // size), range(4 * lanes))


def _dot(acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
    bytes_, words = {
        PART: ("ssse3.pmadd.ub.sw.128", "sse2.pmadd.wd"),
        2 * PART: ("avx2.pmadd.ub.sw", "avx2.pmadd.wd"),
    }[lanes]
    pairs = llvm(f"llvm.x86.{bytes_}", f"int16x{2 * lanes}", a, w)
    ones = splat(const(1, "int16"), 2 * lanes)
    return acc + llvm(f"llvm.x86.{words}", f"int32x{lanes}", pairs, ones)
