"""Models of run-time codes: random products and convolutions of integers, several in one model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

Array = np.ndarray[Any, np.dtype[Any]]
MICROSOFT = "com.microsoft"


@dataclass
class IntegerModel:
    """Nodes side by side, each with operands of its own, and what goes into them."""

    seed: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    inputs: dict[str, Array] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def operand(self, what: str, value: Array, *, constant: bool) -> str:
        name = f"{what}{len(self.nodes)}"
        (self.constants if constant else self.inputs)[name] = value
        return name

    def bytes_of(self, shape: tuple[int, ...], dtype: str) -> Array:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        return self.rng.integers(low, high + 1, shape).astype(dtype)

    def zero(self, what: str, dtype: str, shape: tuple[int, ...], how: str) -> list[str]:
        """A zero point that is absent, "constant", or "given" in each call."""
        if how == "absent":
            return [""]
        return [self.operand(what, self.bytes_of(shape, dtype), constant=how == "constant")]

    def node(self, op: str, operands: list[str], domain: str = "", **attributes: Any) -> None:
        while not operands[-1]:
            operands.pop()
        result = f"y{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, operands, [result], domain=domain, **attributes))

    def random_product(self) -> None:
        pick = self.rng.choice
        m, k, n = (int(self.rng.integers(1, most)) for most in (9, 70, 40))
        shapes = [
            ((m, k), (k, n)), ((2, m, k), (k, n)), ((2, m, k), (2, k, n)), ((k,), (k, n)),
            ((3, m, k), (1, k, n)), ((1, 2, m, k), (2, k, n)), ((m, k), (k,)),
        ]  # fmt: skip
        a, b = shapes[self.rng.integers(len(shapes))]
        of_a, of_b = (str(pick(["uint8", "int8"])) for _ in range(2))
        each = len(b) > 1 and self.rng.integers(2)
        # ONNX Runtime takes one for each column of a matrix, not of several.
        columns: tuple[int, ...] = (n,) if each and len(b) == 2 else ()
        hows = [str(pick(["absent", "constant", "given"])) for _ in range(2)]
        self.node(
            "MatMulInteger",
            [
                self.operand("a", self.bytes_of(a, of_a), constant=False),
                self.operand("b", self.bytes_of(b, of_b), constant=bool(self.rng.integers(2))),
                *self.zero("az", of_a, (), hows[0]),
                *self.zero("bz", of_b, columns, hows[1]),
            ],
        )

    def random_convolution(self) -> None:
        rng = self.rng
        groups = int(rng.choice([1, 1, 2, 3]))
        ins, outs = int(rng.integers(1, 9)), int(rng.integers(1, 12))
        if rng.integers(4) == 0:
            groups, ins, outs = int(rng.integers(2, 40)), 1, 1
        axes = int(rng.choice([1, 2, 2]))
        kernel, strides, dilations = (rng.integers(1, end, axes) for end in (4, 3, 3))
        size = (kernel - 1) * dilations + 1 + rng.integers(0, 6, axes)
        of_x, of_w = (str(rng.choice(["uint8", "int8"])) for _ in range(2))
        channels: tuple[int, ...] = (groups * outs,) if rng.integers(3) == 0 else ()
        padding: dict[str, Any] = {"pads": rng.integers(0, 3, 2 * axes).tolist()}
        if rng.integers(4) == 0:
            padding = {"auto_pad": str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))}
            dilations = np.ones(axes, np.int64)  # ONNX Runtime has no others here
        x = (int(rng.integers(1, 3)), groups * ins, *size.tolist())
        w = (groups * outs, ins, *kernel.tolist())
        how = str(rng.choice(["absent", "constant", "given"]))
        self.node(
            "ConvInteger",
            [
                self.operand("a", self.bytes_of(x, of_x), constant=False),
                self.operand("b", self.bytes_of(w, of_w), constant=True),
                *self.zero("az", of_x, (), how),
                *self.zero("bz", of_w, channels, str(rng.choice(["absent", "constant"]))),
            ],
            strides=strides.tolist(), dilations=dilations.tolist(), group=groups, **padding,
        )  # fmt: skip

    def right(self, node: onnx.NodeProto) -> Array:
        """What ONNX Runtime makes of one node of integers."""
        values = self.inputs | self.constants
        operands: list[Any] = [values.get(name) for name in node.input]
        if node.op_type == "MatMulInteger" or len(operands) < 4 or operands[3].ndim == 0:
            return _computed(node, operands)
        # It knows one zero point for all weights: Σ x·(w - v) = Σ x·w - v·Σ x.
        x, w, zero, zeros = operands
        ones = np.ones_like(w)
        sums, windows = (_computed(node, [x, each, zero]) for each in (w, ones))
        shape = (-1, *[1] * (x.ndim - 2))
        product: Array = sums - zeros.astype(np.int32).reshape(shape) * windows
        return product

    def write(self, path: Path, results: Mapping[str, tuple[int, ...]] | None = None) -> Path:
        """Args: results: shapes of floats; of integers they are inferred."""
        given = [_info(name, value) for name, value in self.inputs.items()]
        outputs = [
            helper.make_tensor_value_info(
                node.output[0],
                onnx.TensorProto.FLOAT if results else onnx.TensorProto.INT32,
                results[node.output[0]] if results else None,
            )
            for node in self.nodes
        ]
        weights = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, "g", given, outputs, weights)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        if not results:
            model = onnx.shape_inference.infer_shapes(model)
            del model.graph.value_info[:]
        onnx.save(model, path)
        return path


def _computed(node: onnx.NodeProto, operands: list[Any]) -> Array:
    given = {f"x{i}": value for i, value in enumerate(operands) if value is not None}
    names = [f"x{i}" if value is not None else "" for i, value in enumerate(operands)]
    while not names[-1]:
        names.pop()
    alone = helper.make_node(node.op_type, names, ["y"])
    alone.attribute.extend(node.attribute)
    graph = helper.make_graph(
        [alone], "g", [_info(*each) for each in given.items()],
        [helper.make_empty_tensor_value_info("y")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    result: Array = session.run(None, given)[0]
    return result


def _info(name: str, value: Array) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_value_info(name, kind, value.shape)
