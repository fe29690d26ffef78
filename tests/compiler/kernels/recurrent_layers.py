"""Random layers of recurrent networks: as kernels, and as ONNX Runtime computes their functions."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper

from edgekiln.compiler.ir.memory import Halo, Nhwc
from edgekiln.compiler.ir.recurrent_ops import Cell
from edgekiln.compiler.kernels.recurrent.kernel import RecurrentKernel
from edgekiln.compiler.onnx_model import own_functions, recurrent_functions

Array = NDArray[Any]

KINDS: dict[Cell, str] = {
    "lstm": "CodedLstm", "gru": "CodedGru", "gru_reset_first": "CodedGruResetFirst",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer's numbers, and data for it."""

    cell: Cell
    backward: bool
    shape: tuple[int, int, int]  # length, batch, width
    x: Array  # (length · batch, features) int8
    x_zero: int
    inputs: Array  # (features, gates · width)
    x_bias: Array
    x_factors: Array
    states: tuple[Array, ...]  # (batch, width): a GRU's state, or an LSTM's codes and cell
    weight: Array  # (gates · width, width)
    bias: Array
    factor: Array
    inverse: np.float32
    zero: int

    @property
    def data(self) -> Array:
        """What the data bring to the gates, in steps; (length · batch, gates · width)."""
        sums = (self.x.astype(np.int32) - self.x_zero) @ self.inputs.astype(np.int32) + self.x_bias
        return sums.astype(np.float32) * self.x_factors

    def kernel(self, activation: str) -> RecurrentKernel:
        length, batch, width = self.shape
        shift = 128 if activation == "uint8" else 0
        y = Nhwc(
            n=1, h=length, w=batch, c=width, dtype=activation, scale=float(1 / self.inverse),
            zero_point=self.zero + shift,
        )  # fmt: skip
        return RecurrentKernel(
            cell=self.cell, length=length, batch=batch, width=width, backward=self.backward,
            weight=self.weight, bias=self.bias, factor=self.factor, inverse=self.inverse, y=y,
        )  # fmt: skip

    def node(self) -> tuple[onnx.NodeProto, dict[str, Array]]:
        """As a node, and what its operands are."""
        length, batch, width = self.shape
        gates = len(self.weight) // width
        levels, rises = recurrent_functions.table()
        given: dict[str, Any] = {
            "x": self.x, "x_zero": np.int8(self.x_zero), "inputs": self.inputs,
            "x_bias": self.x_bias, "x_factors": self.x_factors, "state": self.states[0],
        }  # fmt: skip
        given |= {"cell": self.states[1]} if self.cell == "lstm" else {"bias": self.bias}
        given |= {
            "weights": self.weight.T, "factors": self.factor, "inverse": np.float32(self.inverse),
            "zero": np.int8(self.zero), "levels": levels, "rises": rises,
        }  # fmt: skip
        square: dict[str, Any] = {} if self.cell == "lstm" else {"square": [width, gates, width]}
        node = helper.make_node(
            KINDS[self.cell], list(given), ["y", "after"], domain=recurrent_functions.DOMAIN,
            shape=[length, batch, gates * width], parted=[batch, gates, width],
            states=[length, batch, width], state=[batch, width],
            directions=[int(self.backward)], x_scale=1.0, y_scale=float(1 / self.inverse), **square,
        )  # fmt: skip
        return node, given

    def reference(self) -> tuple[Array, Array]:
        """The int8 codes of all states, and what the last step leaves."""
        node, given = self.node()
        graph = helper.make_graph(
            [node],
            "one",
            [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(np.asarray(value).dtype), np.shape(value)
                )
                for name, value in given.items()
            ],
            [helper.make_empty_tensor_value_info(name) for name in ("y", "after")],
        )
        opset = helper.make_opsetid("", own_functions.OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
        own_functions.declare(model)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        y, after = session.run(None, {n: np.ascontiguousarray(v) for n, v in given.items()})
        return y, after


@st.composite
def layers(draw: st.DrawFn, most: int = 40) -> Layer:
    """Any cell, sizes, direction, and numbers: gates open and shut, states inside and outside of
    what codes hold.
    """
    cell: Cell = draw(st.sampled_from(list(KINDS)))
    width = draw(st.integers(1, most))
    batch, length = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = (4 if cell == "lstm" else 3) * width
    spread = draw(st.sampled_from([0.1, 1.0, 4.0, 1e4]))
    features = draw(st.integers(1, 20))
    inverse = np.float32(1 / draw(st.sampled_from([1 / 127, 1 / 200, 0.02, 1e-3])))
    # Codes times weights are sums of about a hundred times the square root of the width.
    size = recurrent_functions.STEPS * draw(st.sampled_from([0.1, 1.0, 5.0])) / 5000
    states: tuple[Array, ...] = (rng.normal(0, 1, (batch, width)).astype(np.float32),)
    if cell == "lstm":
        states = (rng.integers(-128, 128, (batch, width)).astype(np.int8), *states)
    bias = rng.integers(-5000, 5000, rows) if cell != "lstm" else np.zeros(rows)
    bias[2 * width if cell == "gru_reset_first" else rows :] = 0
    return Layer(
        cell=cell,
        backward=draw(st.booleans()),
        shape=(length, batch, width),
        x=rng.integers(-128, 128, (length * batch, features)).astype(np.int8),
        x_zero=draw(st.integers(-128, 127)),
        inputs=rng.integers(-127, 128, (features, rows)).astype(np.int8),
        x_bias=rng.integers(-20000, 20000, rows).astype(np.int32),
        x_factors=(spread * rng.uniform(0.1, 1, rows)).astype(np.float32),
        states=states,
        weight=rng.integers(-127, 128, (rows, width)).astype(np.int8),
        bias=bias.astype(np.int32),
        factor=(size * rng.uniform(0.1, 1, rows)).astype(np.float32),
        inverse=inverse,
        zero=draw(st.integers(-128, 127)),
    )


def recurrent(x: Nhwc, y: Nhwc) -> RecurrentKernel:
    """One whose numbers follow from those of x and y."""
    rows = 4 * x.c
    return RecurrentKernel(
        cell="lstm", length=2, batch=1, width=x.c, backward=False,
        weight=np.full((rows, x.c), x.zero_point, np.int8),
        bias=np.full(rows, x.zero_point, np.int32), factor=np.full(rows, x.scale, np.float32),
        inverse=np.float32(1 / x.scale), y=replace(y, n=1, h=2, w=1, c=x.c, halo=Halo()),
    )  # fmt: skip
