"""The steps of an LSTM or GRU: a group of threads has one sequence, and goes through it alone.

Each thread has the gates of some values of the state, of every step, so that what a cell remembers
is its own matter. The codes of the state, which all threads multiply, lie in memory that a group
shares: one step's are read while the next one's are written, so that threads wait for each other
once a step.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.recurrent.cell import CellValues, place
from edgekiln.compiler.kernels.recurrent.kernel import RecurrentKernel
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import (
    divmod_,
    let,
    loop,
    register,
    repeat,
    shared_memory,
    store,
    wait_for_group,
    when,
)
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    cast,
    const,
    load,
    reinterpret,
    rounded,
)
from edgekiln.targets.isa.gpu import WORD, call

# Of a state: codes of two steps, and those that a reset gate weighs, in the 32 KiB that the threads
# of a group share on every OpenCL device (CL_DEVICE_LOCAL_MEM_SIZE, version 1.2, table 4.3).
MOST_WIDTH = 32 * 1024 // 3 // WORD * WORD


@shared
def recurrent_on_threads(kernel: RecurrentKernel, mk: MicroKernel) -> Kernel:
    """Build the kernel."""
    rows, state = kernel.length * kernel.batch, kernel.batch * kernel.width
    with KernelBuilder() as k:
        data = k.tensor(rows * kernel.gates * kernel.width, "float32")
        first = [k.tensor(state, kernel.y.dtype)] if kernel.cell == "lstm" else []
        first.append(k.tensor(state, "float32"))
        weights = k.constant(_packed(kernel.weight))
        sums = kernel.weight.sum(axis=1, dtype=np.int64)
        # Modulo 2³², as sums are.
        bias = k.constant((kernel.bias - kernel.y.zero_point * sums).astype(np.int32))
        factor = k.constant(kernel.factor)
        values = CellValues(k, mk, kernel.y, kernel.inverse, bounded=kernel.cell == "lstm")
        y, after = k.tensor(rows * kernel.width, kernel.y.dtype), k.tensor(state, "float32")
        threads = min(mk.group, kernel.width)
        sequence, thread = k.groups(kernel.batch, threads)
        steps = _GroupSteps(kernel, mk, values, (data, weights, bias, factor), (y, after))
        steps.emit(first, sequence, thread, threads)
    return k.finish()


def _packed(weight: NDArray[np.int8]) -> NDArray[np.int32]:
    """Weights as words, [word][row]: neighbouring threads read what lies side by side."""
    rows, width = weight.shape
    padded = np.zeros((rows, -(-width // WORD) * WORD), np.int8)
    padded[:, :width] = weight
    return np.ascontiguousarray(padded.view("<i4").T).astype(np.int32)


class _GroupSteps:
    """Emits the steps."""

    def __init__(
        self, kernel: RecurrentKernel, mk: MicroKernel, values: CellValues,
        numbers: tuple[Buffer, Buffer, Buffer, Buffer], results: tuple[Buffer, Buffer],
    ) -> None:  # fmt: skip
        self.kernel, self.mk, self.values = kernel, mk, values
        self.data, self.weights, self.bias, self.factor = numbers
        self.y, self.after = results
        self.every = kernel.gates * kernel.width
        self.words = -(-kernel.width // WORD)
        self.codes = shared_memory(kernel.y.dtype, 2 * self.words * WORD)
        self.weighed = self.codes
        if kernel.cell == "gru_reset_first":
            self.weighed = shared_memory(kernel.y.dtype, self.words * WORD)

    def emit(self, first: list[Buffer], sequence: Expr, thread: Expr, threads: int) -> None:
        """Emit the whole sequence."""
        kernel = self.kernel
        state = let(sequence * kernel.width)
        rounds = -(-kernel.width // threads)

        def each(body: Callable[[Expr], None]) -> None:
            with repeat(rounds) as turn:
                unit = let(turn * threads + thread)
                if kernel.width % threads:
                    with when(unit < kernel.width):
                        body(unit)
                else:
                    body(unit)

        def begin(unit: Expr) -> None:
            remembered = let(load(first[-1], state + unit))
            lstm = kernel.cell == "lstm"
            codes = load(first[0], state + unit) if lstm else self.values.codes(remembered, 1)
            store(self.codes, unit, codes)
            store(self.after, state + unit, remembered)

        if kernel.width % WORD:
            # TVM cuts off what it sees nobody write: the rest of the last word.
            with when(thread == 0):
                store(self.codes, 2 * self.words * WORD - 1, const(0, kernel.y.dtype))
                store(self.weighed, self.words * WORD - 1, const(0, kernel.y.dtype))
        each(begin)
        wait_for_group()
        with loop(0, kernel.length) as i:
            t = let(kernel.length - 1 - i if kernel.backward else i)
            half = self.words * WORD
            here, there = (let(divmod_(i + turn, 2)[1] * half) for turn in (0, 1))
            step = let(t * kernel.batch + sequence)
            row, to = let(step * self.every), let(step * kernel.width)

            def finish(unit: Expr) -> None:
                new = self._lstm if kernel.cell == "lstm" else self._gru
                codes = let(self.values.codes(new(unit, here, row, state), 1))
                store(self.codes, there + unit, codes)
                store(self.y, to + unit, codes)

            if kernel.cell == "gru_reset_first":
                each(lambda unit: self._weigh(unit, here, row, state))
                wait_for_group()
            each(finish)
            wait_for_group()

    def _lstm(self, unit: Expr, here: Index, row: Index, state: Index) -> Expr:
        gates = [self._place(*each) for each in self._sums((0, 1, 2, 3), unit, row, here)]
        cell, shown = self.values.lstm(gates, load(self.after, state + unit), 1)
        store(self.after, state + unit, cell)
        return shown

    def _gru(self, unit: Expr, here: Index, row: Index, state: Index) -> Expr:
        if self.kernel.cell == "gru":
            update, reset, hidden = self._sums((0, 1, 2), unit, row, here)
            steps = self.values.reset(self._place(*reset), *hidden, 1)
        else:
            (update,) = self._sums((0,), unit, row, here)
            (hidden,) = self._sums((2,), unit, row)
            steps = self._place(*hidden)
        after = self.values.gru(self._place(*update), steps, load(self.after, state + unit), 1)
        store(self.after, state + unit, after)
        return after

    def _weigh(self, unit: Expr, here: Index, row: Index, state: Index) -> None:
        """What the reset gate leaves of the state, as codes."""
        (reset,) = self._sums((1,), unit, row, here)
        opened = self.values.sigmoid(self._place(*reset), 1)
        store(self.weighed, unit, self.values.codes(opened * load(self.after, state + unit), 1))

    def _place(self, of_state: Expr, of_data: Expr) -> Expr:
        return let(place(self.mk, rounded(of_state, 1) + of_data, 1))

    def _sums(
        self, gates: tuple[int, ...], unit: Expr, row: Index, here: Index | None = None
    ) -> list[tuple[Expr, Expr]]:
        """What the state brings to gates, and what the data do, in float32 steps.

        Args:
            here: where the codes of the state begin; None: those that a reset gate has weighed.
        """
        source, begin = (self.weighed, 0) if here is None else (self.codes, here)
        rows = [let(unit + gate * self.kernel.width) for gate in gates]
        sums = register("int32", len(gates))
        for index, at in enumerate(rows):
            store(sums, index, load(self.bias, at))
        with loop(0, self.words) as word:
            codes = let(reinterpret(load(source, begin + word * WORD, WORD), "int32"))
            for index, at in enumerate(rows):
                factors = load(self.weights, word * self.every + at)
                store(sums, index, call("ek_dot", "int32", 1, sums[index], codes, factors))
        return [
            (
                let(cast(sums[index], "float32") * load(self.factor, at)),
                let(load(self.data, row + at)),
            )
            for index, at in enumerate(rows)
        ]
