"""Who is right where a program and ONNX Runtime differ: a layer's own arithmetic, without rounding.

ONNX Runtime computes a quantized layer in float32 between dequantize and quantize. Where a result
lies exactly between two codes, as those of a 2×2 average do in a quarter of all cases, its last
bits decide, not the model. The same nodes are computed here by ONNX's reference implementation in
float64. Codes times scales fit its 53 bits, so sums and averages of codes are exact; products of
scales are off by 2⁻⁵³, which SNAP takes back for what is a tie in exact arithmetic. What is no tie,
but nearer to one than float32 can tell, either neighbour computes: `bounds` gives both. So it does
for ties of averages over 6, 10, 12 … values: no float32 is a sixth.
"""

from collections.abc import Callable, Mapping, Set
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx
    from onnx.reference.op_run import OpRun

Array = NDArray[np.generic]

SNAP = 1e-9  # in steps: nearer to the middle between two codes is the middle
# A share of how many steps there are: float32 cannot tell less of them, after four roundings.
RESOLUTION = 4 * 2.0**-24


class Referee:
    """The layers of a model that are to be judged, each by itself."""

    def __init__(self, model: "onnx.ModelProto", known: Set[str]) -> None:
        """`known` are tensors whose values are given: a layer reaches back as far as these."""
        self._model, self._known = model, known
        self._producers = {name: node for node in model.graph.node for name in node.output}
        self._evaluators: dict[tuple[str, float], Any] = {}  # of onnx's reference, untyped
        self._doubt = 0.0

    def bounds(
        self, name: str, values: "Mapping[str, NDArray[np.generic]]", doubt: float = 0.0
    ) -> "tuple[NDArray[np.generic], NDArray[np.generic]] | None":
        """The least and the largest codes that float32 may make of a quantized tensor: all near
        ties rounded down, and up; exact ties go to the even code in both, but for those of averages
        that float32 cannot take exactly. As `judge` otherwise.

        Args:
            doubt: in steps, how far from the middle is near, where float32 cannot tell even that.
        """
        self._doubt = doubt
        low, high = (self.judge(name, values, toward) for toward in (-1.0, 1.0))
        self._doubt = 0.0
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
            with np.errstate(all="ignore"):  # 0 / 0 is what the model says there
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
        inexact = any(_divides_inexactly(node) for node in nodes)
        operators = _operators(toward, lambda: self._doubt, inexact)
        return ReferenceEvaluator(layer, new_ops=operators)

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


def _divides_inexactly(node: "onnx.NodeProto") -> bool:
    """Whether an average divides by what is no power of two, or may do so: windows at a border that
    does not count have sizes of their own.
    """
    from onnx import helper

    if node.op_type != "AveragePool":
        return False
    given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    sizes = given["kernel_shape"]
    bordered = any(given.get("pads", ())) or given.get("ceil_mode") or "auto_pad" in given
    return any(size & (size - 1) for size in sizes) or (bordered and max(sizes) > 2)


def _operators(toward: float, doubt: Callable[[], float], inexact: bool) -> "list[type[OpRun]]":
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
            limits = np.iinfo(dtype.name)
            near = max(doubt(), RESOLUTION * (limits.max - limits.min + 1))
            quotient = x.astype(np.float64) / steps.astype(np.float64)
            levels = rounded(quotient, toward, ties=inexact, near=near) + middle.astype(np.float64)
            return (np.clip(levels, limits.min, limits.max).astype(dtype),)

    return [DequantizeLinear, QuantizeLinear]


def rounded(
    levels: "NDArray[np.float64]", toward: float = 0.0, *, ties: bool = False,
    near: float = 256 * RESOLUTION,
) -> "NDArray[np.float64]":  # fmt: skip
    """Round to the nearest whole number, from the middle to the even one.

    Args:
        toward: -1 or 1: what float32 cannot tell from the middle goes down, or up.
        ties: whether what is the middle goes there, too.
        near: what float32 cannot tell from the middle, in steps.
    """
    middle = np.floor(levels) + 0.5
    with np.errstate(invalid="ignore"):  # infinities are far from any middle
        apart = np.abs(levels - middle)
    moved = np.where(apart <= near, middle + 0.25 * toward, levels) if toward else levels
    return np.rint(moved if toward and ties else np.where(apart <= SNAP, middle, moved))


def _along(values: "NDArray[np.generic] | None", axes: int, axis: int) -> "NDArray[np.generic]":
    """Scales or zero points of one axis, or of all, so that they spread over `axes` axes."""
    if values is None:
        return np.zeros((), np.int32)
    if values.size == 1:
        return values.reshape(())
    shape = [1] * axes
    shape[axis] = values.size
    return values.reshape(shape)
