"""Products of two activations as data."""

import math
from dataclasses import dataclass, replace
from typing import Self

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.epilogue.finish import Finish
from edgekiln.compiler.kernels.tile import Tile
from edgekiln.targets.isa.expressions import Expr, Index


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """A stack of matrices in memory: element (…, i, j) at Σ batch[k]·i_k + row·i + column·j.

    Args:
        elements: of the memory they lie in, for its declaration.
        batch: one stride an axis of `MatMulSpec.batch`; 0 where all share one matrix.
    """

    elements: int
    batch: tuple[int, ...]
    row: int
    column: int

    def at(self, indices: tuple[Expr, ...]) -> Index:
        """Where the matrix with these indices begins."""
        return sum((i * step for i, step in zip(indices, self.batch, strict=True)), 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class MatMulSpec:
    """Computes y = finish(Σ (a - z_a)(b - z_b)): (m, k) by (k, n) for each index of `batch`.

    Args:
        a: with column stride 1.
        b: of codes any strides, so a transposed operand costs nothing; of floats column stride 1.
        y: with column stride 1.
        result: the type and the quantization of y.
        zero_points: of a and of b, as codes of the micro-kernel's activation type.
        finish: with one factor for all columns, where it has factors.
        tile: rows and vectors of columns in a register tile; chosen when None.
    """

    batch: tuple[int, ...]
    m: int
    k: int
    n: int
    a: Matrices
    b: Matrices
    y: Matrices
    result: Nhwc
    zero_points: tuple[int, int] = (0, 0)
    finish: Finish
    tile: Tile | None = None

    @property
    def erased(self) -> Self:
        """The product that stands for all with the same code."""
        result, finish = self.finish.erased_result(self.result)
        return replace(self, result=result, finish=finish, zero_points=(0, 0))

    @property
    def shape(self) -> Self:
        """The product without its numbers and its tile: what a choice of a tile depends on."""
        return replace(self.erased, tile=None)

    @property
    def label(self) -> str:
        """How many matrices it multiplies, and their sizes, in words for people."""
        times = f"{math.prod(self.batch)} × " if self.batch else ""
        sizes = f"{times}{self.m}×{self.k} by {self.k}×{self.n}"
        return f"{self.finish.prefix}product {sizes}{self.finish.suffix}"
