"""Operators that become integer when quantizing by being written in others, a small model each.

Bounds are some dB below what each form has on these numbers; a wrong rule is near 0 dB.
"""

from dataclasses import dataclass, field

import numpy as np
import onnx

from edgekiln.compiler.onnx_model import definitions
from edgekiln.compiler.quantization import qdq
from edgekiln.compiler.quantization.prepare import prepare
from edgekiln.compiler.quantization.ranges import Observer
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
    "quotient by channels far apart": Form(
        body="m = Div (h, c)",
        constants={"c": np.array([1, -50, 100, 0.01, 3, 0.5], np.float32).reshape(6, 1, 1)},
    ),
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
    "logarithm of a sum": Form(
        body="e = Exp (h)\n m = ReduceLogSum (e, a)", constants={"a": i64(2)}
    ),
    "logarithm of powers": Form(body="m = ReduceLogSumExp (h, a)", constants={"a": i64(1)}),
    "logarithm of powers of tokens": Form(
        body="m = ReduceLogSumExp <axes = [-1], keepdims = 0> (h)", opset=13, shape=ROWS
    ),
    "length of an image": Form(body="m = GlobalLpPool (h)"),
    "size of a sequence": Form(body="m = GlobalLpPool <p = 1> (h)", shape=ROWS),
    "a mask that is broadcast": Form(
        body="k = Add (h, c)\n m = Softmax (k)", floats=("Add", "Softmax"), least_db=30,
        constants={"c": np.where(np.arange(10) < 7, 0, -1e9).astype(np.float32)},
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
    "group norm": Form(
        body="m = GroupNormalization <num_groups = 2, epsilon = 0.01> (h, g, b)", opset=21,
        constants={"g": f32(6), "b": f32(6)},
    ),
    "instance norm of sequences": Form(
        body="m = InstanceNormalization <epsilon = 0.1> (h, g, b)", shape=ROWS,
        constants={"g": f32(7), "b": f32(7)},
    ),
    "instance norm before opset 17": Form(
        body="m = InstanceNormalization (h, g, b)", opset=13,
        constants={"g": f32(6), "b": f32(6)},
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
    "mirrored at the edges": Form(
        body='m = Pad <mode = "reflect"> (h, p)', constants={"p": i64(0, 0, 2, 1, 0, 0, 3, -1)}
    ),
    "wrapped around": Form(
        body='m = Pad <mode = "wrap"> (h, p, , a)', constants={"p": i64(3, 2), "a": i64(2)},
    ),
    "wrapped around where it is cut": Form(
        body='m = Pad <mode = "wrap"> (h, p, , a)', constants={"p": i64(3, -2), "a": i64(2)},
        floats=("Pad",),
    ),
    "edges repeated": Form(
        body='m = Pad <mode = "edge"> (h, p)', shape=ROWS, constants={"p": i64(0, 2, 0, 0, 0, 1)}
    ),
    "cut and padded": Form(
        body="m = Pad (h, p, v)",
        constants={"p": i64(0, 0, -2, 1, 0, 0, -1, 3), "v": np.array(0.7, np.float32)},
    ),
    "padded along an axis": Form(
        body="m = Pad (h, p, , a)", constants={"p": i64(3, 2), "a": i64(-1)}
    ),
    "backwards": Form(
        body="m = Slice (h, s, e, a, t)",
        constants={"s": i64(-1, 6), "e": i64(-(2**62), 1), "a": i64(3, 2), "t": i64(-2, -1)},
    ),
    "averages of sequences": Form(
        body="m = AveragePool <kernel_shape = [3], strides = [2], pads = [1, 0]> (h)", shape=ROWS
    ),
    "maxima of sequences": Form(
        body="m = MaxPool <kernel_shape = [2], strides = [2], dilations = [2]> (h)", shape=ROWS
    ),
    "mean of sequences": Form(body="m = GlobalAveragePool (h)", shape=ROWS),
    "mean of volumes": Form(body="m = GlobalAveragePool (h)", shape=(6, 2, 4, 5)),
    "maximum of sequences": Form(body="m = GlobalMaxPool (h)", shape=ROWS),
    "running sum": Form(body="m = CumSum (h, a)", constants={"a": i64(2)}),
    "running sum from the end": Form(
        body="m = CumSum <exclusive = 1, reverse = 1> (h, a)", constants={"a": i64(-1)}, shape=ROWS
    ),
    "upper triangle": Form(body="m = Trilu (h, k)", constants={"k": i64(1)}),
    "lower triangle": Form(body="m = Trilu <upper = 0> (h)"),
    "shrunk": Form(  # which side of the step a value is on
        body="m = Shrink <lambd = 0.3, bias = 0.1> (h)", least_db=27
    ),
    "difference from pixels": Form(
        body="s = ReduceMax (h, a)\n m = Sub (h, s)", constants={"a": i64(1)}
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
    inferred = onnx.shape_inference.infer_shapes(definitions.expanded(middle), data_prop=True)
    (extents,) = [v.type.tensor_type.shape.dim for v in inferred.graph.value_info if v.name == "m"]
    count = int(np.prod([extent.dim_value for extent in extents[1:]]))
    whole = f"""
        h = LeakyRelu <alpha = 0.5> (x)
        {form.body}
        f = Flatten (m)
        y = MatMul (f, mix)
    """
    mix = np.random.default_rng(8).normal(0, 1 / np.sqrt(count), (count, 16)).astype(np.float32)
    constants = {**form.constants, "mix": mix}
    return make(whole, {}, x=f"N, {shape}", y="N, 16", constants=constants, opset=form.opset)


def samples(form: Form) -> np.ndarray:
    """What x is: 32 samples."""
    return np.random.default_rng(7).normal(size=(32, *form.shape)).astype(np.float32)


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as the quantizer takes it, from a file that was loaded."""
    return prepare(definitions.expanded(model))


def quantized(model: onnx.ModelProto, x: np.ndarray) -> onnx.ModelProto:
    """The model as the quantizer makes it, by the ranges on these samples."""
    ready = prepared(model)
    nodes = qdq.quantized_nodes(ready, ())
    tensors = qdq.observed_tensors(nodes, [w.name for w in ready.graph.initializer])
    ranges = Observer(ready, tensors, batch=len(x)).ranges(lambda size: [{"x": x[:size]}])
    return qdq.quantize(ready, nodes, ranges)
