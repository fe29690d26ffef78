"""Rows of a table of 4 bits a value, as floats: embeddings that take half the memory of bytes."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.take import row_of
from edgekiln.compiler.kernels.tir import for_vectors, let, loop, store
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, Index, cast, const, load, splat

_SIGN = 8  # of four bits in two's complement


def packed(codes: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Two codes a byte, (rows, width) → (rows, ⌈width / 2⌉): the first half of a row lies in the
    lower four bits, the second half in the upper ones, so that a vector is bytes side by side.

    Args:
        codes: from -8 to 7.
    """
    low = codes.astype(np.int32) & 15
    half = (codes.shape[1] + 1) // 2
    high = np.zeros((len(codes), half), np.int32)
    high[:, : codes.shape[1] - half] = low[:, half:]
    return (low[:, :half] | high << 4).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class TakePackedKernel:
    """y[i, :] = codes[index[i], :] · scale[index[i]], for `count` i, float32; see `row_of`.

    Args:
        rows: of the table.
        width: values of a row.
        index: the type of the numbers, int32 or int64.
    """

    rows: int
    width: int
    count: int
    index: str

    @property
    def erased(self) -> Self:
        """The kernel itself, for no number lies in its code."""
        return self

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        half = (self.width + 1) // 2
        with KernelBuilder() as k:
            codes = k.tensor(self.rows * half, "uint8")
            scales = k.tensor(self.rows, "float32")
            index = k.tensor(self.count, self.index)
            y = k.tensor(self.count * self.width, "float32")
            with loop(*k.items(self.count)) as item:
                row = let(row_of(index, item, self.rows, self.index))
                source, to = let(row * half), let(item * self.width)
                scale = let(load(scales, row))

                def move(i: Index, lanes: int, first: int) -> None:
                    pairs = cast(load(codes, source + i, lanes), "int32", lanes)
                    value = _real(pairs, 4 if first else 0, lanes) * splat(scale, lanes)
                    store(y, to + first + i, value, lanes)

                # Apart, for a row of an odd width has no last one of the second half.
                for_vectors(half, mk.lanes, lambda i, lanes: move(i, lanes, 0))
                for_vectors(self.width - half, mk.lanes, lambda i, lanes: move(i, lanes, half))
        return k.finish()


def _real(pairs: Expr, shift: int, lanes: int) -> Expr:
    """The code in four bits of each value, as a float."""
    shifted, mask, sign = (splat(const(n), lanes) for n in (shift, 15, _SIGN))
    code = (((pairs >> shifted) & mask) ^ sign) - sign
    return cast(code, "float32", lanes)
