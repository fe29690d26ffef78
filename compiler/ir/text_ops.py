"""Operations on text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.moves import described, wrong_shape
from edgekiln.compiler.ir.node import Op
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.models.text.table_format import head_of


@dataclass(frozen=True, kw_only=True, eq=False)
class TokensOp(Op):
    """Texts in UTF-8, (N, bytes), become numbers of tokens, (N, length), and, as a second result,
    1 where a token is and 0 behind the last one.
    """

    on_rows: ClassVar[bool] = True
    takes_bytes: ClassVar[bool] = True
    SCRATCH: ClassVar[int]  # bytes of memory for each byte of text

    tables: NDArray[np.uint8]

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        about, (x,) = head_of(self.tables), xs
        rows = x.shape[:1]
        if x.dtype != "uint8" or x.quant is not None:
            return f"{described(x)} is no text"
        if not 1 <= len(ys) <= 2 or {y.dtype for y in ys} != {f"int{8 * about['id_bytes']}"}:
            return f"{', '.join(map(described, ys))} are not its numbers"
        faults = (wrong_shape(y, (*rows, about["length"])) for y in ys)
        return wrong_shape(x, (*rows, about["text_bytes"])) or next(filter(None, faults), "")


@dataclass(frozen=True, kw_only=True, eq=False)
class WordPiece(TokensOp):
    """BERT's tokenizer, with tables of `models.text.table_format`."""

    KIND: ClassVar[str] = "wordpiece"
    SCRATCH: ClassVar[int] = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class BytePair(TokensOp):
    """GPT-2's tokenizer, with tables of `models.text.bpe_format`."""

    KIND: ClassVar[str] = "bpe"
    SCRATCH: ClassVar[int] = 8  # a token and a rank
