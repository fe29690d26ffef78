"""Columns of a table become indices."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import let, loop, register, store
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.models.column_indices import (
    MURMUR_C1,
    MURMUR_C2,
    MURMUR_LAST,
    MURMUR_M,
    MURMUR_MIX,
    MURMUR_N,
)
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, cast, const, load, remainder, select


@dataclass(frozen=True, kw_only=True)
class BucketKernel:
    """y[i]: how many edges x[i], float32, is not below; of a NaN all.

    Args:
        elements: of x and y.
        dtype: of y.
    """

    elements: int
    edges: NDArray[np.float32]
    dtype: str

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        return replace(self, edges=np.zeros_like(self.edges))

    @shared
    def build(self, mk: MicroKernel) -> Kernel:  # noqa: ARG002  # the same on every chip
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(self.elements, "float32")
            edges = k.constant(self.edges)
            y = k.tensor(self.elements, self.dtype)
            with loop(*k.items(self.elements)) as item:
                value = let(load(x, item))
                count = register("int32", 1)
                store(count, 0, const(0))
                with loop(0, self.edges.size) as place:
                    below = select(value < load(edges, place), const(0), const(1))
                    store(count, 0, load(count, 0) + below)
                store(y, item, cast(load(count, 0), self.dtype))
        return k.finish()


@dataclass(frozen=True, kw_only=True)
class HashKernel:
    """y[i]: MurmurHash3 of x[i], int64, modulo `count`.

    Args:
        elements: of x and y.
        dtype: of y.
    """

    elements: int
    count: int
    dtype: str

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        return replace(self, count=1)

    @shared
    def build(self, mk: MicroKernel) -> Kernel:  # noqa: ARG002  # the same on every chip
        """Build the kernel."""
        with KernelBuilder() as k:
            x = k.tensor(self.elements, "int64")
            counts = k.constant(np.array([self.count], np.uint32))
            y = k.tensor(self.elements, self.dtype)
            with loop(*k.items(self.elements)) as item:
                value = let(load(x, item))
                low = let(value & _word(_LOW32))
                high = let((value >> _word(32)) & _word(_LOW32))
                h = let(_mixed(_mixed(_word(0), low), high) ^ _word(8))
                for shift, factor in MURMUR_MIX:
                    h = _times(let(h ^ (h >> _word(shift))), factor)
                h = let(cast(h ^ (h >> _word(MURMUR_LAST)), "uint32"))
                store(y, item, cast(remainder(h, load(counts, 0)), self.dtype))
        return k.finish()


# TVM promises LLVM that no sum and no product of 32 bits and more wraps around: what shall wrap is
# computed in 64 bits, where it does not, and cut.
_LOW32, _LOW16 = 0xFFFFFFFF, 0xFFFF


def _mixed(h: Expr, word: Expr) -> Expr:
    """The hash so far with four more bytes."""
    k = _times(_turned(_times(word, MURMUR_C1), 15), MURMUR_C2)
    turned = _turned(let(h ^ k), 13)
    return let((turned * _word(MURMUR_M) + _word(MURMUR_N)) & _word(_LOW32))


def _times(x: Expr, factor: int) -> Expr:
    """The low 32 bits of a product of 32 bits with as many: the factor meets half of x at once."""
    lower = let((x & _word(_LOW16)) * _word(factor))
    upper = let(((x >> _word(16)) * _word(factor)) & _word(_LOW16))
    return let((lower + (upper << _word(16))) & _word(_LOW32))


def _turned(x: Expr, bits: int) -> Expr:
    return let(((x << _word(bits)) & _word(_LOW32)) | (x >> _word(32 - bits)))


def _word(value: int) -> Expr:
    return const(value, "int64")
