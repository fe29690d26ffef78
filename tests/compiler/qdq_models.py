"""Small QDQ models, written operator by operator, for the tests of the lowering."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class QdqModel:
    """Builds DequantizeLinear → operator → QuantizeLinear chains; the caller names the values."""

    def __init__(self, seed: int = 0, opset: int = 20, dtype: str = "int8") -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.dtype = dtype
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.scales: dict[str, float] = {}
        self.count = 0

    def const(self, value: Any, dtype: str) -> str:
        self.count += 1
        name = f"c{self.count}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def input(self, name: str, *shape: int, dtype: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def op(self, kind: str, *inputs: str, out: str, domain: str = "", **attrs: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [out], domain=domain, **attrs))
        if inputs[0] in self.scales:  # of an operation that only moves values
            self.scales.setdefault(out, self.scales[inputs[0]])
        return out

    def q(self, x: str, scale: float = 0.05, zero: int = 3, dtype: str = "") -> str:
        """Quantize and dequantize `x`; the integers are named `x_q`, the floats `x_dq`."""
        s, z = self.const(scale, "float32"), self.const(zero, dtype or self.dtype)
        self.scales[f"{x}_dq"] = float(np.float32(scale))
        self.op("QuantizeLinear", x, s, z, out=f"{x}_q")
        return self.op("DequantizeLinear", f"{x}_q", s, z, out=f"{x}_dq")

    def weight(self, *shape: int, axis: int = 0) -> tuple[str, np.ndarray]:
        """A dequantized int8 constant with one scale per slice of `axis`."""
        values = self.rng.integers(-127, 128, shape)
        scales = (self.rng.random(shape[axis]) * 0.01 + 0.001).astype(np.float32)
        name = self.const(values, "int8")
        zeros = self.const(np.zeros(shape[axis]), "int8")
        out = self.op(
            "DequantizeLinear", name, self.const(scales, "float32"), zeros, out=f"{name}_dq",
            axis=axis,
        )  # fmt: skip
        return out, scales

    def conv(self, x: str, oc: int, ic: int, *kernel: int, out: str, **attrs: Any) -> str:
        """Convolution with an int32 bias at scale s_x · s_w."""
        weight, scales = self.weight(oc, ic, *kernel)
        scale = np.float32(self.scales[x]) * scales
        bias = self.const(self.rng.integers(-2000, 2000, oc), "int32")
        zeros = self.const(np.zeros(oc), "int32")
        self.op(
            "DequantizeLinear", bias, self.const(scale, "float32"), zeros, out=f"{bias}_dq", axis=0
        )
        return self.op("Conv", x, weight, f"{bias}_dq", out=out, **attrs)

    def save(self, path: Path, *outputs: str) -> Path:
        graph = helper.make_graph(
            self.nodes,
            "test",
            self.inputs,
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            self.constants,
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        onnx.save(model, path)
        return path
