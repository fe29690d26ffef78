"""Columns of a table become indices: before a network, which looks them up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.moves import described, wrong_shape
from edgekiln.compiler.ir.node import Op
from edgekiln.compiler.ir.tensor import Tensor

INDICES = ("int32", "int64")


@dataclass(frozen=True, kw_only=True, eq=False)
class Bucket(Op):
    """How many edges each number is not below, see `models.column_indices`."""

    KIND: ClassVar[str] = "bucket"
    on_rows: ClassVar[bool] = True

    edges: NDArray[np.float32]

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        if x.dtype != "float32" or y.dtype not in INDICES:
            return f"{described(y)} has no buckets of {described(x)}"
        return wrong_shape(y, x.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class HashIndex(Op):
    """The hash of each whole number, modulo `count`, see `models.column_indices`."""

    KIND: ClassVar[str] = "hash_index"
    on_rows: ClassVar[bool] = True

    count: int

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        if x.dtype != "int64" or y.dtype not in INDICES:
            return f"{described(y)} has no hashes of {described(x)}"
        return wrong_shape(y, x.shape)
