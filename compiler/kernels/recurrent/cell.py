"""What becomes of a cell's gates in a step, value by value: the same bits on every chip."""

from collections.abc import Sequence

import numpy as np

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.numbers import NumbersConstant
from edgekiln.compiler.kernels.tir import let
from edgekiln.compiler.onnx_model import recurrent_functions as functions
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Expr,
    cast,
    const,
    float_const,
    rounded,
    splat,
)

HALF = functions.PLACES * functions.REST // 2  # the place of 0
_RISE_BITS = 11  # of an entry of the table; above them lies the level
_REST_BITS = functions.REST.bit_length() - 1
_UNIT = 2.0 ** -(functions.FRACTION_BITS + _REST_BITS)  # of what is interpolated


def place(mk: MicroKernel, steps: Expr, lanes: int) -> Expr:
    """Where in the interpolated table float32 steps are, rounded half to even: int32, from 0 on."""
    whole = mk.steps(steps, float_const(-float(HALF)), float_const(HALF - 1.0), lanes)
    return whole + splat(const(HALF), lanes)


class CellValues:
    """Emits the values of a cell. It declares its table, and what makes codes of a state.

    Args:
        inverse: one by the scale of y.
        bounded: a state is a product of a gate and tanh: no step more than `inverse`.
    """

    def __init__(
        self, k: KernelBuilder, mk: MicroKernel, y: Nhwc, inverse: np.float32, *, bounded: bool
    ) -> None:
        levels, rises = functions.table()
        self._mk = mk
        self._table = k.constant((levels << _RISE_BITS) + rises)
        self._numbers = NumbersConstant(k, y, None, (inverse,), bounded=bounded)

    def lstm(self, gates: Sequence[Expr], cell: Expr, lanes: int) -> tuple[Expr, Expr]:
        """The next cell, and the state that is shown of it.

        Args:
            gates: their places.
        """
        let_in, let_out, kept = (self.sigmoid(gate, lanes) for gate in gates[:3])
        candidate = self._tanh(gates[3], lanes)
        held = rounded(kept * cell, lanes)
        after = let(held + rounded(let_in * candidate, lanes))
        deep = after * splat(float_const(2.0 * functions.STEPS), lanes)
        return after, let_out * self._tanh(place(self._mk, deep, lanes), lanes)

    def gru(self, update: Expr, hidden: Expr, state: Expr, lanes: int) -> Expr:
        """The next state, of the places of two gates."""
        opened = self.sigmoid(update, lanes)
        value = self._tanh(hidden, lanes)
        return let(value + rounded(opened * (state - value), lanes))

    def reset(self, gate: Expr, part: Expr, of_data: Expr, lanes: int) -> Expr:
        """The place of what is hidden, whose part of the state goes through the reset gate."""
        weighed = rounded(self.sigmoid(gate, lanes) * part, lanes)
        return place(self._mk, weighed + of_data, lanes)

    def codes(self, state: Expr, lanes: int) -> Expr:
        """Codes of float32 states."""
        return self._numbers.codes(self._mk, state * splat(self._numbers.float(0), lanes), lanes)

    def sigmoid(self, at: Expr, lanes: int) -> Expr:
        """σ at a place."""
        value = cast(self._interpolated(at, lanes), "float32", lanes)
        return let(value * splat(float_const(_UNIT), lanes))

    def _tanh(self, at: Expr, lanes: int) -> Expr:
        """2σ - 1, at a place that stands for twice its number."""
        half = splat(const(1 << (functions.FRACTION_BITS + _REST_BITS - 1)), lanes)
        value = cast(self._interpolated(at, lanes) - half, "float32", lanes)
        return let(value * splat(float_const(2 * _UNIT), lanes))

    def _interpolated(self, at: Expr, lanes: int) -> Expr:
        """σ at a place, in whole `_UNIT`."""
        at = let(at)
        entry = let(self._table[let(at >> splat(const(_REST_BITS), lanes))])
        rest = at & splat(const(functions.REST - 1), lanes)
        rise = entry & splat(const((1 << _RISE_BITS) - 1), lanes)
        level = entry >> splat(const(_RISE_BITS), lanes)
        return (level << splat(const(_REST_BITS), lanes)) + rise * rest
