"""All steps of an LSTM or GRU in one call: codes are multiplied, what a cell remembers is float32.

A step is the product of the state's codes with the weights, by the micro-kernels of dense layers,
and then gate by gate what `onnx_model.recurrent_functions` says. The weights lie in memory once,
and the code does not depend on how long the sequence is but for one number.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import OVERREAD_BYTES, Nhwc
from edgekiln.compiler.ir.recurrent_ops import Cell
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.recurrent.cell import CellValues
from edgekiln.compiler.kernels.recurrent.sums import GateSums, GateWeights
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import for_vectors, let, memory, repeat, store
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    load,
    reinterpret,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class RecurrentKernel:
    """Computes the codes of all states, y (length, batch, width), and what the last step leaves:
    an LSTM's cell or a GRU's state, float32.

    It reads the data's part of all gates, float32 steps (length, batch, gates · width), a GRU's
    first state, or the codes of an LSTM's and its first cell.

    Args:
        weight: (gates · width, width).
        bias: (gates · width,) int32, at the scale of the sums.
        factor: (gates · width,), what sums are multiplied by, for steps of `recurrent_functions`.
        inverse: one by the scale of y, below 2³¹.
        backward: the last step of the sequence comes first.
    """

    cell: Cell
    length: int
    batch: int
    width: int
    backward: bool
    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    factor: NDArray[np.float32]
    inverse: np.float32
    y: Nhwc

    @property
    def gates(self) -> int:
        """How many there are."""
        return 4 if self.cell == "lstm" else 3

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        return replace(
            self, weight=np.zeros_like(self.weight), bias=np.zeros_like(self.bias),
            factor=np.zeros_like(self.factor), inverse=np.float32(0), y=self.y.unscaled,
        )  # fmt: skip

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        rows = self.length * self.batch
        state = self.batch * self.width
        products = _products(self, mk)
        with KernelBuilder() as k:
            data = k.tensor(rows * self.gates * self.width, "float32")
            first = [k.tensor(state, self.y.dtype)] if self.cell == "lstm" else []
            first.append(k.tensor(state, "float32"))
            for product in products:
                product.declare(k)
            values = CellValues(k, mk, self.y, self.inverse, bounded=self.cell == "lstm")
            y = k.tensor(rows * self.width, self.y.dtype)
            after = k.tensor(state, "float32")
            k.no_items()
            _Steps(self, mk, (data, *first), values, (y, after)).emit(products)
        return k.finish()


def _products(kernel: RecurrentKernel, mk: MicroKernel) -> list[GateSums]:
    """All gates of an LSTM at once; a GRU's that are opened first, then what is hidden."""
    width, every = kernel.width, kernel.gates * kernel.width
    codes = Nhwc(
        n=1, h=1, w=kernel.batch, c=width, dtype=mk.activation, zero_point=kernel.y.zero_point
    )
    cut = every if kernel.cell == "lstm" else 2 * width

    def part(begin: int, end: int) -> GateWeights:
        return GateWeights(
            weight=kernel.weight[begin:end], bias=kernel.bias[begin:end],
            factor=kernel.factor[begin:end], first=begin,
        )  # fmt: skip

    found = [GateSums(mk, codes, part(0, cut), every)]
    if kernel.cell != "lstm":
        apart = kernel.cell == "gru"
        found.append(GateSums(mk, codes, part(cut, every), every, apart=apart))
    return found


# Emits what becomes of a vector of values at a place.
_Body = Callable[["_StatePlace", int], None]


class _Steps:
    """Emits the steps."""

    def __init__(
        self, kernel: RecurrentKernel, mk: MicroKernel, inputs: tuple[Buffer, ...],
        values: CellValues, results: tuple[Buffer, Buffer],
    ) -> None:  # fmt: skip
        self.kernel, self.mk, self.values = kernel, mk, values
        self.data, self.first, self.y, self.after = inputs[0], inputs[1:], *results
        width, batch = kernel.width, kernel.batch
        self.every = kernel.gates * width
        # The last step of a product reads on behind a row, whose weights are 0 there.
        self.codes = memory(mk.activation, batch * width + OVERREAD_BYTES)
        self.weighed = self.codes
        if kernel.cell == "gru_reset_first":
            self.weighed = memory(mk.activation, batch * width + OVERREAD_BYTES)
        self.sums = memory("int32", batch * self.every)

    def emit(self, products: list[GateSums]) -> None:
        """Emit the whole sequence."""
        kernel, state = self.kernel, self.kernel.batch * self.kernel.width
        for_vectors(state, self.mk.lanes, self._begin)
        step = self._lstm if kernel.cell == "lstm" else self._gru
        with repeat(kernel.length) as i:
            t = let(kernel.length - 1 - i if kernel.backward else i)
            row, to = let(t * (kernel.batch * self.every)), let(t * state)
            products[0].emit(self.codes, self.data, row, self.sums)
            if kernel.cell == "gru_reset_first":
                self._each(self._weigh, row, to)
            for product in products[1:]:
                product.emit(self.weighed, self.data, row, self.sums)
            self._each(step, row, to)

    def _begin(self, at: Index, lanes: int) -> None:
        """The first state as codes, and what is remembered."""
        remembered = load(self.first[-1], at, lanes)
        lstm = self.kernel.cell == "lstm"
        codes = load(self.first[0], at, lanes) if lstm else self.values.codes(remembered, lanes)
        store(self.codes, at, codes, lanes)
        store(self.after, at, remembered, lanes)

    def _each(self, body: _Body, row: Index, to: Index) -> None:
        """Run the body once for each value of the state, whose own place is never read again."""
        with repeat(self.kernel.batch) as b:
            gates, state = let(b * self.every), let(b * self.kernel.width)
            for first, count, lanes in _pieces(self.kernel.width, self.mk.lanes):
                with repeat(count) as i:
                    at = let(first + i * lanes)
                    body(_StatePlace(gates + at, state + at, row, to), lanes)

    def _lstm(self, at: "_StatePlace", lanes: int) -> None:
        gates = [self._sum(at, gate, lanes) for gate in range(4)]
        cell, shown = self.values.lstm(gates, load(self.after, at.state, lanes), lanes)
        store(self.after, at.state, cell, lanes)
        self._show(shown, at, lanes)

    def _gru(self, at: "_StatePlace", lanes: int) -> None:
        update, hidden = (self._sum(at, gate, lanes) for gate in (0, 2))
        if self.kernel.cell == "gru":
            of_data = load(self.data, at.row + at.gates + 2 * self.kernel.width, lanes)
            part = reinterpret(hidden, "float32", lanes)
            hidden = self.values.reset(self._sum(at, 1, lanes), part, of_data, lanes)
        state = self.values.gru(update, hidden, load(self.after, at.state, lanes), lanes)
        store(self.after, at.state, state, lanes)
        self._show(state, at, lanes)

    def _weigh(self, at: "_StatePlace", lanes: int) -> None:
        """What the reset gate leaves of the state, as codes."""
        reset = self.values.sigmoid(self._sum(at, 1, lanes), lanes)
        weighed = reset * load(self.after, at.state, lanes)
        store(self.weighed, at.state, self.values.codes(weighed, lanes), lanes)

    def _sum(self, at: "_StatePlace", gate: int, lanes: int) -> Expr:
        return load(self.sums, at.gates + gate * self.kernel.width, lanes)

    def _show(self, state: Expr, at: "_StatePlace", lanes: int) -> None:
        """Store a state as codes: for the next step, and as a result."""
        codes = let(self.values.codes(state, lanes))
        store(self.codes, at.state, codes, lanes)
        store(self.y, at.to + at.state, codes, lanes)


@dataclass(frozen=True)
class _StatePlace:
    """Where a value's gates are among the sums, its state in the batch; and where the step's data
    and results begin.
    """

    gates: Index
    state: Index
    row: Index
    to: Index


def _pieces(count: int, widths: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """First, times and lanes of vectors that cover 0..count-1 without overlapping."""
    done = 0
    for lanes in (*widths, 1):
        if times := (count - done) // lanes:
            yield done, times, lanes
            done += times * lanes
