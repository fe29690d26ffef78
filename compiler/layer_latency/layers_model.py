"""An int8 ONNX model of layers side by side: each reads an input of its own, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.layer_latency.geometry import LayerGeometry

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

# Scales of codes that fill their range: how long a kernel takes does not depend on them.
_X_SCALE, _Y_SCALE, _W_SCALE = 0.05, 0.05, 0.002
_OPSET, _IR_VERSION = 20, 10


@dataclass(frozen=True, kw_only=True)
class SizedLayer:
    """A layer with its widths."""

    geometry: LayerGeometry
    inputs: int
    outputs: int


def layers_model(layers: Sequence[SizedLayer]) -> "onnx.ModelProto":
    """A QDQ model in which layer i, with a bias and a rectifier, gives the codes `str(i)`."""
    from onnx import TensorProto, helper, shape_inference

    graph = _LayersGraph()
    outputs = [graph.layer(str(place), layer) for place, layer in enumerate(layers)]
    proto = helper.make_graph(
        graph.nodes,
        "layers",
        graph.inputs,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        graph.constants,
    )
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
    )
    return shape_inference.infer_shapes(model, strict_mode=True)


@dataclass
class _LayersGraph:
    """Nodes, inputs and constants under way."""

    nodes: "list[onnx.NodeProto]" = field(default_factory=list)
    inputs: "list[onnx.ValueInfoProto]" = field(default_factory=list)
    constants: "list[onnx.TensorProto]" = field(default_factory=list)

    def layer(self, name: str, layer: SizedLayer) -> str:
        """Add a layer; returns its output."""
        from onnx import TensorProto, helper

        geometry = layer.geometry
        conv = geometry.kind == "conv"
        rows, columns = geometry.extents
        shape = [1, layer.inputs, rows, columns] if conv else [rows, layer.inputs]
        x = f"{name}_x"
        self.inputs.append(helper.make_tensor_value_info(x, TensorProto.FLOAT, shape))
        x = self._quantized(x, _X_SCALE)
        weight = self._weight(name, _weight_shape(layer), layer.outputs)
        made = f"{name}_made"
        if conv:
            groups = layer.inputs if geometry.multiplier else geometry.groups
            node = helper.make_node(
                "Conv", [x, *weight], [made], name=made, kernel_shape=geometry.kernel,
                strides=geometry.stride, pads=geometry.pads, dilations=geometry.dilation,
                group=groups,
            )  # fmt: skip
        else:
            node = helper.make_node("Gemm", [x, *weight], [made], name=made, transB=1)
        self.nodes.append(node)
        self.nodes.append(helper.make_node("Relu", [made], [f"{name}_y"], name=f"{name}_relu"))
        # An integer kernel is called by its codes.
        return self._quantized(f"{name}_y", _Y_SCALE, name)

    def _quantized(self, x: str, scale: float, codes: str = "") -> str:
        """Codes of `x`, by that name, and back."""
        codes = codes or f"{x}_codes"
        self._constant(f"{x}_scale", np.array(scale, np.float32))
        self._constant(f"{x}_zero", np.array(-128, np.int8))
        self._node("QuantizeLinear", x, f"{x}_scale", f"{x}_zero", out=codes)
        return self._node("DequantizeLinear", codes, f"{x}_scale", f"{x}_zero", out=f"{x}_again")

    def _weight(self, name: str, shape: tuple[int, ...], outputs: int) -> tuple[str, str]:
        """Codes of weights as training leaves them: most are small; and of biases."""
        draw = np.random.default_rng(0)
        codes = np.clip(np.rint(draw.normal(0, 30, shape)), -127, 127).astype(np.int8)
        made = []
        for kind, values, scale in (
            ("weight", codes, _W_SCALE),
            ("bias", np.zeros(outputs, np.int32), _X_SCALE * _W_SCALE),
        ):
            own = f"{name}_{kind}"
            self._constant(own, values)
            self._constant(f"{own}_scale", np.full(outputs, scale, np.float32))
            self._constant(f"{own}_zero", np.zeros(outputs, values.dtype))
            self._node(
                "DequantizeLinear", own, f"{own}_scale", f"{own}_zero", out=f"{own}_real", axis=0
            )
            made.append(f"{own}_real")
        return made[0], made[1]

    def _constant(self, name: str, values: "NDArray[np.generic]") -> None:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(values, name))

    def _node(self, kind: str, *inputs: str, out: str, axis: int | None = None) -> str:
        from onnx import helper

        # None: an attribute that the node has not.
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=out, axis=axis))
        return out


def _weight_shape(layer: SizedLayer) -> tuple[int, ...]:
    geometry = layer.geometry
    if geometry.kind == "linear":
        return layer.outputs, layer.inputs
    a_group = 1 if geometry.multiplier else layer.inputs // geometry.groups
    return layer.outputs, a_group, *geometry.kernel
