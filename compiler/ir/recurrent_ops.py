"""The steps of LSTM and GRU, of codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.moves import described, wrong_shape
from edgekiln.compiler.ir.node import Op
from edgekiln.compiler.ir.tensor import Tensor

Cell = Literal["lstm", "gru", "gru_reset_first"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Recurrent(Op):
    """All steps of a layer.

    It reads the data's part of all gates in steps of `recurrent_functions`, (length · batch,
    gates · width), the first state, and an LSTM's first cell. Its results are the codes of all
    states, (length, batch, width), and what the last step leaves. An LSTM's first state is codes
    like those of its results; all else is float32.
    """

    KIND: ClassVar[str] = "recurrent"
    on_rows: ClassVar[bool] = True

    cell: Cell
    backward: bool
    weight: NDArray[np.int8]  # (gates · width, width)
    bias: NDArray[np.int32]  # (gates · width,), at the scale of the sums; 0 behind a reset gate
    factor: NDArray[np.float32]  # what sums are multiplied by
    inverse: np.float32  # one by the scale of the states

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        data, *states = xs
        codes, after = ys
        length, batch, width = codes.shape
        rows = len(self.weight)
        coded = states[:1] if self.cell == "lstm" else []
        real = [each for each in (*xs, after) if each not in coded]
        if {x.dtype for x in real} != {"float32"} or codes.quant is None:
            return f"{', '.join(map(described, real))} are not of float32, or its states no codes"
        if any((x.quant, x.dtype) != (codes.quant, codes.dtype) for x in coded):
            return f"{described(coded[0])} has other codes than {described(codes)}"
        if self.weight.shape != (rows, width) or {self.bias.size, self.factor.size} != {rows}:
            return f"weights {self.weight.shape} do not fit {described(codes)}"
        faults = [wrong_shape(each, (batch, width)) for each in (*states, after)]
        return wrong_shape(data, (length * batch, rows)) or next(filter(None, faults), "")
