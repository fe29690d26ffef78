"""What is written in other operators to become integer: all of it does, and stays near the floats.

Bounds are some dB below what each form has on these numbers; a wrong rule is near 0 dB.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.onnx_model import io, operators
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.passes.gate import float_operators
from edgekiln.compiler.passes.qdq_to_integer import qdq_to_integer
from edgekiln.compiler.quantization import qcheck, qdq
from edgekiln.compiler.quantization.forms import table
from edgekiln.compiler.quantization.prepare import prepare
from edgekiln.compiler.quantization.ranges import Observer
from edgekiln.compiler.quantization.sqnr import Sqnr
from tests.compiler.float_models import make

rng = np.random.default_rng(5)
IMAGE, ROWS, VECTOR = (6, 8, 10), (7, 12), (20,)


def f32(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def positive(*shape: int) -> np.ndarray:
    return rng.uniform(0.5, 2, shape).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Form:
    """Between h, which is read from x in codes, and m."""

    body: str
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    shape: tuple[int, ...] = IMAGE  # of x and h behind the batch
    least_db: float = 30
    floats: tuple[str, ...] = ()  # operators that stay float
    opset: int = 20


FORMS = {
    "larger of two": Form(body="k = Neg (h)\n m = Max (h, k)"),
    "smaller of three": Form(body="k = Tanh (h)\n l = Neg (h)\n m = Min (h, k, l)"),
    "larger of channels": Form(body="m = Max (h, c)", constants={"c": f32(6, 1, 1)}),
    "quotient": Form(
        body="s = Sigmoid (h)\n e = Add (s, c)\n m = Div (h, e)",
        constants={"c": np.array(0.5, np.float32)},
    ),
    "quotient by channels": Form(body="m = Div (h, c)", constants={"c": positive(6, 1, 1)}),
    "quotient of a row": Form(
        body="r = ReduceMax (h, a)\n s = Sigmoid (h)\n e = Add (s, c)\n m = Div (r, e)",
        constants={"a": i64(3), "c": np.array(0.5, np.float32)},
    ),
    "slopes of channels": Form(body="m = PRelu (h, c)", constants={"c": f32(6, 1, 1)}),
    "slopes of pixels": Form(body="m = PRelu (h, c)", constants={"c": f32(6, 8, 10)}),
    "slopes of sequences": Form(body="m = PRelu (h, c)", constants={"c": f32(7, 1)}, shape=ROWS),
    "sum of four": Form(body="k = Tanh (h)\n l = Neg (k)\n m = Sum (h, k, h, l)"),
    "sum of one": Form(body="k = Sum (h)\n m = Relu (k)"),
    "mean of three": Form(body="k = Tanh (h)\n l = Exp (h)\n m = Mean (h, k, l)"),
    "sum with a row": Form(body="m = Add (h, c)", constants={"c": f32(10)}),
    "product with pixels": Form(
        body="s = ReduceMean (h, a)\n g = Sigmoid (s)\n m = Mul (h, g)", constants={"a": i64(1)}
    ),
    "outer product": Form(
        body="s = ReduceMax (h, a)\n t = ReduceMin (h, b)\n m = Mul (s, t)",
        constants={"a": i64(2), "b": i64(3)},
    ),
    "taken or left": Form(
        body="k = Tanh (h)\n m = Where (c, h, k)", constants={"c": rng.random((8, 10)) < 0.5}
    ),
    "filled": Form(
        body="m = Where (c, v, h)",
        constants={"c": rng.random((6, 1, 10)) < 0.3, "v": np.array(-1.5, np.float32)},
    ),
    "masked far away": Form(
        body="m = Where (c, h, v)", floats=("Where",), least_db=0,
        constants={"c": rng.random((8, 10)) < 0.9, "v": np.array(-1e9, np.float32)},
    ),
    "spread": Form(
        body="s = ReduceMax (h, a)\n e = Expand (s, t)\n m = Add (h, e)",
        constants={"a": i64(1), "t": i64(1, 6, 8, 10)},
    ),
    "spread in front": Form(
        body="m = Expand (h, t)", constants={"t": i64(1, 7, 12)}, shape=(1, 12)
    ),
    "tiles": Form(body="m = Tile (h, t)", constants={"t": i64(1, 1, 2, 3)}),
    "tiles of a row": Form(body="m = Tile (h, t)", constants={"t": i64(1, 3, 2)}, shape=(1, 12)),
    "softmax over channels": Form(body="m = Softmax <axis = 1> (h)"),
    "softmax over tokens": Form(body="m = Softmax <axis = -2> (h)", shape=ROWS),
    "mean over channels": Form(body="m = ReduceMean (h, a)", constants={"a": i64(1)}),
    "mean over the last axis": Form(
        body="m = ReduceMean <keepdims = 0> (h, a)", constants={"a": i64(-1)}, shape=ROWS
    ),
    "mean over rows and channels": Form(body="m = ReduceMean (h, a)", constants={"a": i64(2, 1)}),
    "mean over all": Form(
        body="m = ReduceMean <keepdims = 0> (h, a)", constants={"a": i64(1, 2, 3)}, least_db=28
    ),
    "mean before opset 18": Form(
        body="m = ReduceMean <axes = [1], keepdims = 0> (h)", opset=13
    ),
    "sum over the image": Form(
        body="m = ReduceSum <keepdims = 0> (h, a)", constants={"a": i64(2, 3)}
    ),
    "sum over tokens": Form(body="m = ReduceSum (h, a)", constants={"a": i64(1)}, shape=ROWS),
    "sum over lines": Form(body="m = ReduceSum (h, a)", constants={"a": i64(2)}),
    "sum over the image before opset 18": Form(
        body="m = ReduceSum (h, a)", constants={"a": i64(2, 3)}, opset=13
    ),
    "maximum over channels": Form(body="m = ReduceMax (h, a)", constants={"a": i64(1)}),
    "maximum over the image": Form(body="m = ReduceMax (h, a)", constants={"a": i64(-1, -2)}),
    "minimum over tokens": Form(
        body="m = ReduceMin <keepdims = 0> (h, a)", constants={"a": i64(1)}, shape=ROWS
    ),
    "maximum over the batch": Form(
        body="k = ReduceMax (h, a)\n m = Mul (h, k)", constants={"a": i64(0)},
        floats=("ReduceMax",), least_db=0,
    ),
    "length": Form(body="m = ReduceL2 (h, a)", constants={"a": i64(1)}),
    "magnitudes": Form(
        body="m = ReduceL1 <keepdims = 0> (h, a)", constants={"a": i64(-1)}, shape=ROWS
    ),
    "squares": Form(body="m = ReduceSumSquare (h, a)", constants={"a": i64(2, 3)}),
    "batch norm of vectors": Form(
        body="m = BatchNormalization (h, g, b, b, v)", shape=VECTOR,
        constants={"g": f32(20), "b": f32(20), "v": positive(20)},
    ),
    "batch norm of sequences": Form(
        body="m = BatchNormalization (h, g, b, b, v)", shape=ROWS,
        constants={"g": f32(7), "b": f32(7), "v": positive(7)},
    ),
    "batch norm of volumes": Form(
        body="m = BatchNormalization <epsilon = 0.1> (h, g, b, b, v)", shape=(6, 2, 4, 5),
        constants={"g": f32(6), "b": f32(6), "v": positive(6)},
    ),
    "batch norm behind a product": Form(
        body="k = Gemm (h, w, c)\n m = BatchNormalization (k, g, b, b, v)", shape=VECTOR,
        constants={"w": f32(20, 9), "c": f32(9), "g": f32(9), "b": f32(9), "v": positive(9)},
    ),
    "instance norm": Form(
        body="m = InstanceNormalization (h, g, b)", constants={"g": f32(6), "b": f32(6)}
    ),
    "instance norm of sequences": Form(
        body="m = InstanceNormalization <epsilon = 0.1> (h, g, b)", shape=ROWS,
        constants={"g": f32(7), "b": f32(7)},
    ),
    "instance norm before opset 17": Form(
        body="m = InstanceNormalization (h, g, b)", opset=13,
        constants={"g": f32(6), "b": f32(6)}, floats=("InstanceNormalization",),
    ),
    "linear": Form(
        body='m = Resize <mode = "linear", '
        'coordinate_transformation_mode = "align_corners"> (h, , s)',
        constants={"s": np.array([1, 1, 2, 1.5], np.float32)},
    ),
    "cubic": Form(
        body='m = Resize <mode = "cubic"> (h, , s)',
        constants={"s": np.array([1, 1, 0.5, 2], np.float32)},
    ),
    "nearest to odd sizes": Form(
        body='m = Resize <mode = "nearest"> (h, , s)',
        constants={"s": np.array([1, 1, 0.5, 1.5], np.float32)},
    ),
    "response to neighbours": Form(
        body="m = LRN <size = 5, alpha = 0.5, beta = 0.75, bias = 1.0> (h)"
    ),
}  # fmt: skip


def model_of(form: Form) -> onnx.ModelProto:
    """The form between a product, and one that mixes all of its results without a mean."""
    shape = ", ".join(map(str, form.shape))
    middle = make(
        f"h = Identity (x)\n {form.body}", {}, x=f"3, {shape}", y="N", opset=form.opset,
        constants={**form.constants, "y": np.zeros(1, np.float32)},
    )  # fmt: skip
    inferred = onnx.shape_inference.infer_shapes(middle, data_prop=True)
    (extents,) = [v.type.tensor_type.shape.dim for v in inferred.graph.value_info if v.name == "m"]
    count = int(np.prod([extent.dim_value for extent in extents[1:]]))
    whole = f"""
        h = LeakyRelu <alpha = 0.5> (x)
        {form.body}
        f = Flatten (m)
        y = MatMul (f, mix)
    """
    constants = {**form.constants, "mix": f32(count, 16) / np.float32(np.sqrt(count))}
    return make(whole, {}, x=f"N, {shape}", y="N, 16", constants=constants, opset=form.opset)


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_integer_and_near_the_floats(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    model = model_of(form)
    x = f32(32, *form.shape)
    ready = prepare(model)
    nodes = qdq.quantized_nodes(ready, ())
    tensors = qdq.observed_tensors(nodes, [w.name for w in ready.graph.initializer])
    ranges = Observer(ready, tensors, batch=32).ranges(lambda size: [{"x": x[:size]}])
    quantized = qdq.quantize(ready, nodes, ranges)
    structure = qcheck.inspect(quantized)
    assert tuple(sorted(op.op for op in structure.floats)) == form.floats, structure.floats
    assert structure.violations == ()
    io.save_model(quantized, tmp_path / "m.onnx")
    graph = import_onnx(tmp_path / "m.onnx")
    qdq_to_integer(graph)
    assert sorted(op.op for op in float_operators(graph)) == sorted(form.floats)
    expected = Session(model, optimize=True)(x)[0]
    np.testing.assert_allclose(Session(ready, optimize=False)(x)[0], expected, rtol=2e-4, atol=2e-5)
    sqnr = Sqnr()
    sqnr.add(expected, Session(quantized, optimize=False)(x)[0])
    assert sqnr.db > form.least_db


def test_a_batch_norm_of_its_own_becomes_a_depthwise_convolution() -> None:
    model = make(
        "y = BatchNormalization <epsilon = 0.01> (x, g, b, m, v)",
        {"g": (3,), "b": (3,), "m": (3,)}, x="N, 3, 5, 7", y="N, 3, 5, 7",
        constants={"v": np.array([0.5, 1, 2], np.float32)},
    )  # fmt: skip
    x = f32(2, 3, 5, 7)
    before = Session(model, optimize=True)(x)[0]
    assert table.write(model) == 1
    onnx.checker.check_model(model, full_check=True)
    (conv,) = model.graph.node
    assert (conv.op_type, conv.name) == ("Conv", "y")
    assert len(model.graph.initializer) == 2
    np.testing.assert_allclose(Session(model, optimize=True)(x)[0], before, rtol=1e-5, atol=1e-6)


def test_a_batch_norm_behind_a_product_leaves_no_node_of_its_own() -> None:
    ready = prepare(model_of(FORMS["batch norm behind a product"]))
    assert [node.op_type for node in ready.graph.node].count("Gemm") == 1
    assert not {"BatchNormalization", "Conv"} & {node.op_type for node in ready.graph.node}


def test_what_nothing_is_known_of_stays() -> None:
    model = make(
        "y = BatchNormalization (x, g, b, m, v)", {"g": (3,), "b": (3,), "m": (3,)},
        x="N, 3, H, W", y="N, 3, H, W", constants={"v": np.ones(3, np.float32)},
    )  # fmt: skip
    assert table.write(model) == 0


def test_every_operator_that_is_rewritten_says_so_in_the_table() -> None:
    rows = {name: operators.find(name) for name in table.RULES}
    assert [name for name, row in rows.items() if row is None or not row.rewritten] == []
