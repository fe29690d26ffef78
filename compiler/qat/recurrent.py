"""Layers of LSTM and GRU in codes, as `onnx_model.recurrent_functions` computes them.

Each product and sum is rounded to float32 by itself, as there. A gate's gradient is that of its
function; that of states that become codes passes as everywhere, see `rounding`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.autograd import Function

from edgekiln.compiler.onnx_model import recurrent_functions as functions
from edgekiln.compiler.onnx_model.recurrent_functions import DATA, STATE
from edgekiln.compiler.qat.numbers import LearnedBias, WeightCodes
from edgekiln.compiler.qat.rounding import rounded
from edgekiln.compiler.qat.values import Pending, QuantizedValue, real

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx
    from torch import Tensor
    from torch.autograd.function import FunctionCtx

    from edgekiln.compiler.qat.node import Operand, QatNode, Value
    from edgekiln.compiler.qat.rounding import Limits

# The places of operands: what the data are multiplied by, its bias and factors, the first state; a
# first cell or a bias; and those of the state.
INPUTS, X_BIAS, X_FACTORS, FIRST = (DATA.index(each) for each in DATA[2:])
OWN = len(DATA)
WEIGHTS, FACTORS, INVERSE, ZERO = (OWN + 1 + STATE.index(each) for each in STATE[:4])
# The tensors of codes whose scales a layer says.
SCALES: "Mapping[str, Callable[[onnx.NodeProto], str]]" = {
    "x_scale": lambda node: node.input[0], "y_scale": lambda node: node.output[0]
}  # fmt: skip
_GATES = {functions.CODED[name]: count for name, count in functions.GATES.items()}
_LEVELS, _RISES = (torch.from_numpy(each.astype(np.int64)) for each in functions.table())
_HALF = functions.PLACES * functions.REST // 2  # the place of 0
_UNIT = 2.0**-23  # of an interpolated level


def is_layer(node: "onnx.NodeProto") -> bool:
    """Whether a node is a layer of codes."""
    return node.domain == functions.DOMAIN and node.op_type in _GATES


def is_lstm(node: "onnx.NodeProto") -> bool:
    """Whether a layer of codes has a cell beside its state."""
    return node.op_type == functions.CODED["LstmSteps"]


def limits_of(zero: int) -> "Limits":
    """The steps that int8 codes with this zero point have."""
    ends = np.iinfo(np.int8)
    return float(ends.min - zero), float(ends.max - zero)


def moved_factors(weight: WeightCodes, scale: "Tensor", first: float) -> "Tensor":
    """What sums of codes are multiplied by, whose scale was `first` when they were quantized."""
    return weight.scale * (scale / torch.tensor(first, dtype=torch.float32))


def layer(node: "QatNode", operands: "Sequence[Operand]") -> "list[Value]":
    """All steps: the codes of all states, and what the last step leaves."""
    return _TrainedLayer.of(node, operands).results(operands)


@dataclass(frozen=True, kw_only=True, eq=False)
class _TrainedLayer:
    """A layer with today's numbers."""

    node: "QatNode"
    x: QuantizedValue
    inputs: WeightCodes
    weights: WeightCodes
    x_factors: "Tensor"
    factors: "Tensor"
    scale: "Tensor"
    inverse: "Tensor"
    zero: int

    @staticmethod
    def of(node: "QatNode", operands: "Sequence[Operand]") -> "_TrainedLayer":
        x, inputs, weights = operands[0], operands[INPUTS], operands[WEIGHTS]
        scale = operands[INVERSE]
        if not isinstance(x, QuantizedValue):
            raise node.refused("it reads no codes that the model has made")
        if not isinstance(inputs, WeightCodes) or not isinstance(weights, WeightCodes):
            raise node.refused("its weights are no constants")
        assert isinstance(scale, torch.Tensor)  # see `QuantizedNetwork`
        first_x, first_y = (float(node.attributes[name]) for name in ("x_scale", "y_scale"))
        return _TrainedLayer(
            node=node, x=x, inputs=inputs, weights=weights, scale=scale, inverse=1 / scale,
            x_factors=moved_factors(inputs, x.scale, first_x),
            factors=moved_factors(weights, scale, first_y),
            zero=int(node.constants[ZERO].item()),
        )  # fmt: skip

    def results(self, operands: "Sequence[Operand]") -> "list[Value]":
        length, batch, _ = self.node.integers("shape", ())
        bias = self._bias(operands[X_BIAS], self.x_factors)
        fed = self._scaled(self.x.steps, self.inputs.steps, bias, self.x_factors)
        data = fed.reshape(length, batch, _GATES[self.node.proto.op_type], -1)
        order = range(length)
        if any(self.node.integers("directions", (0,))):
            order = order[::-1]
        run = self._lstm if is_lstm(self.node.proto) else self._gru
        shown, after = run(operands, data, order)
        steps = torch.stack([shown[t] for t in range(length)])
        codes = QuantizedValue(
            steps=steps, scale=self.scale, zero=self.zero, limits=limits_of(self.zero)
        )
        return [codes, after]

    def _lstm(
        self, operands: "Sequence[Operand]", data: "Tensor", order: "Sequence[int]"
    ) -> "tuple[dict[int, Tensor], Tensor]":
        codes, cell = self._first_codes(operands), self._given(operands, OWN)
        shown = {}
        for t in order:
            sums = self._scaled(codes, self.weights.steps, None, self.factors)
            gates = sums.reshape(data[t].shape) + data[t]
            let_in, let_out, kept = (_sigmoid(gates[:, place]) for place in range(3))
            gated, held = let_in * _tanh(gates[:, 3]), kept * cell
            cell = held + gated
            codes = shown[t] = self._codes(let_out * _tanh(cell * (2.0 * functions.STEPS)))
        return shown, cell

    def _gru(
        self, operands: "Sequence[Operand]", data: "Tensor", order: "Sequence[int]"
    ) -> "tuple[dict[int, Tensor], Tensor]":
        state, bias = self._given(operands, FIRST), self._bias(operands[OWN], self.factors)
        first = self.node.proto.op_type == functions.CODED["GruStepsResetFirst"]
        width = state.shape[1]
        shown = {}
        for t in order:
            sums = self._scaled(self._codes(state), self.weights.steps, bias, self.factors)
            parts = sums.reshape(data[t].shape)
            update, reset = (_sigmoid(parts[:, i] + data[t][:, i]) for i in range(2))
            if first:
                matrix, factors = self.weights.steps[:, 2 * width :], self.factors[2 * width :]
                part = self._scaled(self._codes(reset * state), matrix, None, factors)
            else:
                part = reset * parts[:, 2]
            hidden = _tanh(part + data[t][:, 2])
            state = hidden + update * (state - hidden)
            shown[t] = self._codes(state)
        return shown, state

    def _codes(self, state: "Tensor") -> "Tensor":
        return rounded(state, self.inverse, limits_of(self.zero))

    def _scaled(
        self, codes: "Tensor", matrix: "Tensor", bias: "Tensor | None", factors: "Tensor"
    ) -> "Tensor":
        """Exact sums, rounded as int32 is that becomes float32, times their factors."""
        sums = codes.double() @ matrix.double()
        return (sums if bias is None else sums + bias).float() * factors

    def _bias(self, bias: "Operand", factors: "Tensor") -> "Tensor":
        if not isinstance(bias, LearnedBias):
            raise self.node.refused("its bias is no constant")
        found: Tensor = bias(factors)
        return found

    def _first_codes(self, operands: "Sequence[Operand]") -> "Tensor":
        """An LSTM's first state, as steps."""
        given, known = operands[FIRST], self.node.constants.get(FIRST)
        shape = self.node.integers("state", ())
        if known is not None:
            steps = torch.from_numpy(known.astype(np.float32) - self.zero)
            return steps.to(self.x.steps.device).reshape(shape)
        if not isinstance(given, QuantizedValue):
            raise self.node.refused("its first state is no codes")
        return given.steps.reshape(shape)

    def _given(self, operands: "Sequence[Operand]", place: int) -> "Tensor":
        """A first state, or cell, of floats."""
        value, known = operands[place], self.node.constants.get(place)
        shape = self.node.integers("state", ())
        if known is not None:
            return torch.from_numpy(known.copy()).to(self.x.steps.device).reshape(shape)
        if not isinstance(value, QuantizedValue | Pending | torch.Tensor):
            raise self.node.refused("its first state is no number")
        return real(value).reshape(shape)


class _Gate(Function):
    """The interpolated table, whose slope is that of its function."""

    @staticmethod
    def forward(ctx: "FunctionCtx", steps: "Tensor", tanh: bool) -> "Tensor":
        # What is no number, as in a training that diverges, has some place.
        nearest = steps.clamp(-float(_HALF), _HALF - 1.0).nan_to_num().round_().long()
        place = nearest + _HALF
        rest, entry = place % functions.REST, place // functions.REST
        levels, rises = (each.to(steps.device) for each in (_LEVELS, _RISES))
        whole = levels[entry] * functions.REST + rises[entry] * rest
        one = 2 * _UNIT if tanh else _UNIT
        found = (whole - (round(1 / one) if tanh else 0)).float() * one
        ctx.save_for_backward(found)
        ctx.tanh = tanh  # type: ignore[attr-defined]
        return found

    @staticmethod
    def backward(ctx: "FunctionCtx", gradient: "Tensor") -> "tuple[Tensor, None]":
        (y,) = ctx.saved_tensors  # type: ignore[attr-defined]
        tanh = ctx.tanh  # type: ignore[attr-defined]
        slope = (1 - y * y) / 2 if tanh else y * (1 - y)
        return gradient * slope / functions.STEPS, None


def _sigmoid(steps: "Tensor") -> "Tensor":
    found: Tensor = _Gate.apply(steps, False)  # type: ignore[no-untyped-call]
    return found


def _tanh(steps: "Tensor") -> "Tensor":
    """Tanh, of what is given twice as many steps."""
    found: Tensor = _Gate.apply(steps, True)  # type: ignore[no-untyped-call]
    return found
