"""What the quantizer calls integer, the passes make integer: one model an operator and form."""

import numpy as np
import pytest

from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.passes.gate import float_operators
from edgekiln.compiler.passes.qdq_to_integer import qdq_to_integer
from edgekiln.compiler.quantization import qcheck, qdq
from edgekiln.compiler.quantization.prepare import prepare
from edgekiln.compiler.quantization.ranges import Observer
from edgekiln.compiler.quantization.sqnr import Sqnr
from tests.compiler.float_models import make

rng = np.random.default_rng(0)
LEAST_DB = 24


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def f32(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def number(value: float) -> np.ndarray:
    return np.array(value, np.float32)


ONES, ZEROS, LINE = np.ones(6, np.float32), np.zeros(6, np.float32), i64(0, 6, 64)
BORDER = i64(0, 0, 1, 1, 0, 0, 1, 1)
SCALES = np.array([1, 1, 2, 2], np.float32)

# Between a convolution's result h, (N, 6, 8, 8), and m, which is pooled: the operators, their
# constants, and those that stay float.
FORMS: dict[str, tuple[str, dict[str, np.ndarray], set[str]]] = {
    "difference": ("k = Relu (h)\n m = Sub (h, k)", {}, set()),
    "difference to channels": ("m = Sub (h, c)", {"c": f32(6, 1, 1)}, set()),
    "difference to a number": ("m = Sub (h, c)", {"c": number(0.3)}, set()),
    "difference from channels": ("m = Sub (c, h)", {"c": f32(1, 6, 1, 1)}, set()),
    "difference from a number": ("m = Sub (c, h)", {"c": number(0.3)}, set()),
    "transposed convolution": (
        "m = ConvTranspose <strides = [2, 2], kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (h, c)",
        {"c": f32(6, 3, 3, 3)},
        set(),
    ),
    "grouped transposed convolution with a bias": (
        (
            "t = ConvTranspose <strides = [2, 2], kernel_shape = [2, 2], group = 2> (h, c, b)\n"
            "m = Relu (t)"
        ),
        {"c": f32(6, 3, 2, 2), "b": f32(6)},
        set(),
    ),
    "sum with channels": ("m = Add (h, c)", {"c": f32(6, 1, 1)}, set()),
    "sum with a row": ("m = Add (h, c)", {"c": f32(8)}, set()),
    "sum with an image": ("m = Add (h, c)", {"c": f32(6, 8, 8)}, set()),
    "sum with itself": ("m = Add (h, h)", {}, set()),
    "squeeze and excite": (
        "p = GlobalAveragePool (h)\n s = Sigmoid (p)\n m = Mul (h, s)",
        {},
        set(),
    ),
    "spatial attention": (
        "s = ReduceMean (h, axis)\n m = Mul (h, s)",
        {"axis": i64(1)},
        set(),
    ),
    "dilated average": (
        "m = AveragePool <kernel_shape = [3, 3], dilations = [2, 2]> (h)",
        {},
        {"AveragePool"},
    ),
    "average": (
        "m = AveragePool <kernel_shape = [3, 3], ceil_mode = 1, strides = [2, 2]> (h)",
        {},
        set(),
    ),
    "nearest": ('m = Resize <mode = "nearest"> (h, , s)', {"s": SCALES}, set()),
    "nearest by ceil": (
        'm = Resize <mode = "nearest", nearest_mode = "ceil"> (h, , s)',
        {"s": SCALES},
        set(),
    ),
    "nearest to halves": (
        'm = Resize <mode = "nearest"> (h, , s)',
        {"s": np.array([1, 1, 1.5, 1.5], np.float32)},
        set(),
    ),
    "linear": ('m = Resize <mode = "linear"> (h, , s)', {"s": SCALES}, set()),
    "padding": ("m = Pad (h, p)", {"p": BORDER}, set()),
    "mirrored padding": ('m = Pad <mode = "reflect"> (h, p)', {"p": BORDER}, set()),
    "cropping": ("m = Pad (h, p)", {"p": i64(0, 0, 1, 1, 0, 0, -1, -1)}, set()),
    "slice": (
        "m = Slice (h, a, b, c, d)",
        {"a": i64(1), "b": i64(7), "c": i64(2), "d": i64(2)},
        set(),
    ),
    "mirror": (
        "m = Slice (h, a, b, c, d)",
        {"a": i64(7), "b": i64(-100), "c": i64(2), "d": i64(-1)},
        set(),
    ),
    "blocks to pixels": (
        "k = Concat <axis = 1> (h, h)\n m = DepthToSpace <blocksize = 2> (k)",
        {},
        set(),
    ),
    "pixels to blocks": ("m = SpaceToDepth <blocksize = 2> (h)", {}, set()),
    "shuffle": (
        "a, b = Split <axis = 1, num_outputs = 2> (h)\n m = Concat <axis = 1> (b, a)",
        {},
        set(),
    ),
    "clip above zero": ("m = Clip (h, a, b)", {"a": number(1), "b": number(6)}, set()),
    "clip with computed bounds": (
        "z = ReduceMax <keepdims = 0> (h)\n m = Clip (h, a, z)",
        {"a": number(0)},
        {"ReduceMax", "Clip"},
    ),
    "mean over channels": ("m = ReduceMean (h, axis)", {"axis": i64(1)}, set()),
    "attention": ("t = Transpose <perm = [0, 1, 3, 2]> (h)\n m = MatMul (h, t)", {}, set()),
    "matrix on the left": ("m = MatMul (c, h)", {"c": f32(8, 8)}, set()),
    "matrix on the right": ("m = MatMul (h, c)", {"c": f32(8, 8)}, set()),
    "matrices on the right": ("m = MatMul (h, c)", {"c": f32(1, 6, 8, 8)}, set()),
    "vector on the right": (
        "v = MatMul (h, c)\n m = Unsqueeze (v, axis)",
        {"c": f32(8), "axis": i64(3)},
        {"MatMul"},
    ),
    "linear with a bias (1, 1, N)": (
        "r = Reshape (h, s)\n q = MatMul (r, c)\n a = Add (q, b)\n m = Reshape (a, t)",
        {"s": LINE, "t": i64(0, 6, 4, 16), "c": f32(64, 64), "b": f32(1, 1, 64)},
        set(),
    ),
    "softmax": ("m = Softmax (h)", {}, set()),
    "softmax over channels": ("m = Softmax <axis = 1> (h)", {}, set()),
    "global maximum": ("m = GlobalMaxPool (h)", {}, set()),
    "one function": ("m = Celu (h)", {}, set()),
    "a slope a channel": ("m = PRelu (h, s)", {"s": f32(6, 1, 1)}, set()),
    "the smaller of two": ("k = Relu (h)\n m = Min (h, k)", {}, set()),
    "functions one after another": (
        "a = Div (h, s)\n b = Erf (a)\n c = Add (b, o)\n d = Mul (h, c)\n m = Mul (d, q)",
        {"s": number(1.41), "o": number(1), "q": number(0.5)},
        set(),
    ),
    "batch norm": (
        "k = Relu (h)\n m = BatchNormalization (k, s, b, b, s)",
        {"s": ONES, "b": ZEROS},
        set(),
    ),
    "every second channel": ("m = Gather <axis = 1> (h, i)", {"i": i64(0, 2, 4)}, set()),
    "any channels": ("m = Gather <axis = 1> (h, i)", {"i": i64(0, 2, 1)}, set()),
    **{
        f"a causal mask of {name}": (
            "a = Add (h, c)\n m = Softmax (a)",
            {"c": np.where(np.tri(8), 0, value).astype(np.float32)},
            {"Add", "Softmax"},
        )
        for name, value in (
            ("infinities", -np.inf),
            ("the least float32", np.finfo(np.float32).min),
        )
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_the_quantizer_promises_what_the_passes_hold(form, tmp_path):
    body, constants, floats = FORMS[form]
    whole = f"""
        h = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)
        {body}
        g = GlobalAveragePool (m)
        y = Flatten (g)
    """
    model = make(whole, {"w": (6, 4, 3, 3)}, x="N, 4, 8, 8", y="N, K", constants=constants)
    x = f32(16, 4, 8, 8)
    ready = prepare(model)
    nodes = qdq.quantized_nodes(ready, ())
    tensors = qdq.observed_tensors(nodes, [w.name for w in ready.graph.initializer])
    ranges = Observer(ready, tensors, batch=16).ranges(lambda size: [{"x": x[:size]}])
    quantized = qdq.quantize(ready, nodes, ranges)

    structure = qcheck.inspect(quantized)
    assert {op.op for op in structure.floats} == floats
    assert structure.violations == ()
    io.save_model(quantized, tmp_path / "m.onnx")
    graph = import_onnx(tmp_path / "m.onnx")
    qdq_to_integer(graph)
    assert sorted(op.op for op in float_operators(graph)) == sorted(
        op.op for op in structure.floats
    )
    sqnr = Sqnr()
    sqnr.add(Session(model, optimize=True)(x)[0], Session(quantized, optimize=False)(x)[0])
    assert sqnr.db > LEAST_DB
