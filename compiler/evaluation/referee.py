"""Who is right where a program and ONNX Runtime differ: a layer's own arithmetic, without rounding.

ONNX Runtime computes a quantized layer in float32 between dequantize and quantize. Where a result
lies exactly between two codes, as those of a 2×2 average do in a quarter of all cases, its last
bits decide, not the model. The same nodes are computed here by ONNX's reference implementation in
float64. Codes times scales fit its 53 bits, so sums and averages of codes are exact; products of
scales are off by 2⁻⁵³, which SNAP takes back for what is a tie in exact arithmetic. What is no tie,
but nearer to one than float32 can tell, either neighbour computes: `bounds` gives both.
"""

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx
    from onnx.reference.op_run import OpRun

Array = NDArray[np.generic]

SNAP = 1e-9  # in steps: nearer to the middle between two codes is the middle
# In steps: of numbers of up to 256 steps float32 cannot tell less, after four roundings.
RESOLUTION = 256 * 4 * 2.0**-24


class Referee:
    """The layers of a model that are to be judged, each by itself."""

    def __init__(self, model: "onnx.ModelProto", known: Set[str]) -> None:
        """`known` are tensors whose values are given: a layer reaches back as far as these."""
        self._model, self._known = model, known
        self._producers = {name: node for node in model.graph.node for name in node.output}
        self._evaluators: dict[tuple[str, float], Any] = {}  # of onnx's reference, untyped

    def bounds(
        self, name: str, values: "Mapping[str, NDArray[np.generic]]"
    ) -> "tuple[NDArray[np.generic], NDArray[np.generic]] | None":
        """The least and the largest codes that float32 may make of a quantized tensor: all near
        ties rounded down, and up; exact ties go to the even code in both. As `judge` otherwise.
        """
        low, high = (self.judge(name, values, toward) for toward in (-1.0, 1.0))
        return None if low is None or high is None else (low, high)

    def judge(
        self, name: str, values: "Mapping[str, NDArray[np.generic]]", toward: float = 0.0
    ) -> "NDArray[np.generic] | None":
        """Tensor `name` in float64, or, of a quantized one, its codes; from the values of `known`.

        Args:
            toward: where near ties go, see `rounded`.

        None where the layer holds an operator that ONNX's reference does not compute in float64.
        """
        try:
            if (name, toward) not in self._evaluators:
                self._evaluators[name, toward] = self._evaluator(name, toward)
            evaluator = self._evaluators[name, toward]
            if evaluator is None:
                return None
            given = {each: _widened(values[each]) for each in evaluator.input_names}
            (result,) = evaluator.run(None, given)
        # The reference raises what numpy does, of many classes, for what it does not support.
        except Exception:
            self._evaluators[name, toward] = None
            return None
        return cast("NDArray[np.generic]", np.asarray(result))

    def _evaluator(self, name: str, toward: float) -> Any:  # as above
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        nodes, inputs = self._layer(name)
        if any(node.domain or node.op_type.startswith("QLinear") for node in nodes):
            return None  # these round inside
        read = {each for node in nodes for each in node.input}
        graph = helper.make_graph(
            [_in_double(node) for node in nodes],
            "layer",
            [helper.make_empty_tensor_value_info(each) for each in inputs],
            [helper.make_empty_tensor_value_info(name)],
            [
                _double(tensor)
                for tensor in self._model.graph.initializer
                if tensor.name in read and tensor.name not in inputs
            ],
        )
        layer = helper.make_model(graph, opset_imports=self._model.opset_import)
        return ReferenceEvaluator(layer, new_ops=_operators(toward))

    def _layer(self, name: str) -> "tuple[list[onnx.NodeProto], list[str]]":
        """The nodes that make a tensor of known ones, in the model's order; and those."""
        wanted, inputs, found = [name], [], set()
        while wanted:
            each = wanted.pop()
            node = self._producers.get(each)
            if (each in self._known and each != name) or node is None:
                if each in self._known and each not in inputs:
                    inputs.append(each)
                continue
            if id(node) not in found:
                found.add(id(node))
                wanted += [source for source in node.input if source]
        return [node for node in self._model.graph.node if id(node) in found], inputs


def _widened(value: "NDArray[np.generic]") -> "NDArray[np.generic]":
    return value.astype(np.float64) if value.dtype == np.float32 else value


def _double(tensor: "onnx.TensorProto") -> "onnx.TensorProto":
    from onnx import TensorProto, numpy_helper

    if tensor.data_type != TensorProto.FLOAT:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name)


def _in_double(node: "onnx.NodeProto") -> "onnx.NodeProto":
    """The node with its float32 constants, and casts to float32, widened."""
    from onnx import NodeProto, TensorProto

    wide = NodeProto()
    wide.CopyFrom(node)
    for attribute in wide.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.DOUBLE
        if attribute.HasField("t"):
            attribute.t.CopyFrom(_double(attribute.t))
    return wide


def _operators(toward: float) -> "list[type[OpRun]]":
    """Quantize and dequantize without float32 between codes."""
    from onnx.reference.op_run import OpRun

    class DequantizeLinear(OpRun):  # the name is how it is found
        def _run(
            self, x: Array, scale: Array, zero: Array | None = None, axis: int = 1, **_: object
        ) -> tuple[Array]:
            steps, middle = (_along(each, x.ndim, axis) for each in (scale, zero))
            return ((x.astype(np.float64) - middle.astype(np.float64)) * steps.astype(np.float64),)

    class QuantizeLinear(OpRun):
        def _run(
            self, x: Array, scale: Array, zero: Array | None = None, axis: int = 1, **_: object
        ) -> tuple[Array]:
            dtype = np.dtype(np.uint8) if zero is None else zero.dtype
            steps, middle = (_along(each, x.ndim, axis) for each in (scale, zero))
            quotient = x.astype(np.float64) / steps.astype(np.float64)
            levels = rounded(quotient, toward) + middle.astype(np.float64)
            limits = np.iinfo(dtype.name)
            return (np.clip(levels, limits.min, limits.max).astype(dtype),)

    return [DequantizeLinear, QuantizeLinear]


def rounded(levels: "NDArray[np.float64]", toward: float = 0.0) -> "NDArray[np.float64]":
    """Round to the nearest whole number, from the middle to the even one.

    Args:
        toward: -1 or 1: what float32 cannot tell from the middle goes down, or up.
    """
    middle = np.floor(levels) + 0.5
    apart = np.abs(levels - middle)
    near = np.where(apart <= RESOLUTION, middle + 0.25 * toward, levels) if toward else levels
    return np.rint(np.where(apart <= SNAP, middle, near))


def _along(values: "NDArray[np.generic] | None", axes: int, axis: int) -> "NDArray[np.generic]":
    """Scales or zero points of one axis, or of all, so that they spread over `axes` axes."""
    if values is None:
        return np.zeros((), np.int32)
    if values.size == 1:
        return values.reshape(())
    shape = [1] * axes
    shape[axis] = values.size
    return values.reshape(shape)
