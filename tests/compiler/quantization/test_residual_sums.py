"""A transformer's residual stream stays float where a limit needs it; nothing else does."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.passes.gate import float_operators
from edgekiln.compiler.passes.qdq_to_integer import qdq_to_integer
from edgekiln.compiler.quantization.ladder_record import read_ladder
from edgekiln.compiler.quantization.ranges import Observer
from edgekiln.compiler.quantization.residual_sums import inner_activations, residual_sums
from edgekiln.compiler.quantization.sqnr import Sqnr
from tests.compiler.float_models import make, write
from tests.compiler.quantizing import quantize

BLOCKS, WIDTH = 16, 32


def blocks(
    form: str, count: int = BLOCKS, *, norms_behind: bool = False, views: bool = False
) -> onnx.ModelProto:
    """Blocks of a dense layer, each added to what goes into it."""
    lines: list[str] = []
    shapes: dict[str, tuple[int, ...]] = {"scale": (WIDTH,), "offset": (WIDTH,)}
    stream = "x"
    last = "Reshape (pNUMBER, shape)" if views else "Relu (pNUMBER)"
    for number in range(count):
        branch = f"r{number} = {last.replace('NUMBER', str(number))}"
        norm = form.replace("OUT", f"n{number}")
        if norms_behind:
            lines.append(f"p{number} = MatMul ({stream}, w{number})")
            lines.append(branch)
            lines.append(f"s{number} = Add (r{number}, {stream})")
            lines.append(norm.replace("IN", f"s{number}"))
            stream = f"n{number}"
        else:
            lines.append(norm.replace("IN", stream))
            lines.append(f"p{number} = MatMul (n{number}, w{number})")
            lines.append(branch)
            lines.append(f"s{number} = Add (r{number}, {stream})")
            stream = f"s{number}"
        shapes[f"w{number}"] = (WIDTH, WIDTH)
    lines.append(form.replace("OUT", "y").replace("IN", stream))
    shape = {"shape": np.array([1, 6, WIDTH])} if views else {}
    model = make("\n".join(lines), shapes, x=f"1, 6, {WIDTH}", y=f"1, 6, {WIDTH}", constants=shape)
    for node in model.graph.node:
        node.name = node.output[0]
    for weight in model.graph.initializer:
        if weight.name == "shape":
            continue
        array = onnx.numpy_helper.to_array(weight)
        if weight.name in ("scale", "offset"):
            array = np.full_like(array, 1.0 if weight.name == "scale" else 0.0)
        weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    return model


LAYER = "OUT = LayerNormalization <axis = -1> (IN, scale, offset)"


def test_a_stream_normalized_before_its_blocks_is_its_sums() -> None:
    found = residual_sums(blocks(LAYER))
    assert found == {f"s{number}" for number in range(BLOCKS)}


def test_a_stream_normalized_behind_its_blocks_is_its_sums_and_norms() -> None:
    found = residual_sums(blocks(LAYER, norms_behind=True))
    sums = {f"s{number}" for number in range(BLOCKS)}
    # The last one is read by nothing that is added.
    assert found == sums | {f"n{number}" for number in range(BLOCKS - 1)}


def test_the_sums_of_the_embeddings_that_a_stream_begins_with_belong_to_it() -> None:
    body = """
        e = Add (x, places)
        t = Add (e, kinds)
        n = LayerNormalization <axis = -1> (t, scale, offset)
        p = MatMul (n, w)
        b = Add (p, bias)
        s = Add (b, n)
        y = LayerNormalization <axis = -1> (s, scale, offset)
    """
    shapes = {"w": (8, 8), "places": (4, 8), "kinds": (8,), "scale": (8,), "offset": (8,)}
    model = make(body, shapes | {"bias": (8,)}, x="1, 4, 8", y="1, 4, 8")
    # A bias is the product's.
    assert residual_sums(model) == {"e", "t", "n", "s"}


GATED = """
    n = LayerNormalization <axis = -1> (x, scale, offset)
    g = MatMul (n, w1)
    u = MatMul (n, w2)
    h = Sigmoid (g)
    a = Mul (g, h)
    m = Mul (a, u)
    y = MatMul (m, w3)
"""


@pytest.mark.parametrize(
    ("body", "inner"),
    [
        (GATED, {"h", "a", "m"}),
        (GATED.replace("h = Sigmoid (g)", "h = Gelu (g)").replace("Mul (g, h)", "Abs (h)"),
            {"h", "a", "m"}),
        # What is cut off needs no floats; what others read has them anyhow or not.
        ("g = MatMul (x, w1)\n m = Relu (g)\n y = MatMul (m, w3)", set()),
        ("m = Gelu (x)\n y = MatMul (m, w3)", set()),
        ("g = MatMul (x, w1)\n h = Softmax (g)\n m = Gelu (h)\n y = MatMul (m, w3)", set()),
    ],
)  # fmt: skip
def test_activations_between_two_products_are_found(body: str, inner: set[str]) -> None:
    shapes = dict.fromkeys(("w1", "w2", "w3"), (8, 8)) | {"scale": (8,), "offset": (8,)}
    assert inner_activations(make(body, shapes, x="1, 4, 8", y="1, 4, 8")) == inner


def test_a_stream_may_change_its_shape_on_the_way() -> None:
    """As that of a Swin does between images and rows."""
    body = """
        n0 = LayerNormalization <axis = -1> (x, scale, offset)
        p0 = MatMul (n0, w)
        s0 = Add (x, p0)
        v0 = Reshape (s0, image)
        n1 = LayerNormalization <axis = -1> (v0, scale, offset)
        p1 = MatMul (n1, w)
        s1 = Add (v0, p1)
        v1 = Reshape (s1, rows)
        n2 = LayerNormalization <axis = -1> (v1, scale, offset)
        p2 = MatMul (n2, w)
        y = Add (p2, v1)
    """
    shapes = {"image": np.array([1, 2, 3, 8]), "rows": np.array([1, 6, 8])}
    weights = {"w": (8, 8), "scale": (8,), "offset": (8,)}
    model = make(body, weights, x="1, 6, 8", y="1, 6, 8", constants=shapes)
    assert residual_sums(model) == {"s0", "v0", "s1", "v1"}


def test_a_mask_takes_no_codes_from_the_scores_beside_it() -> None:
    """What a softmax gives no weight may lie anywhere below, as the -10,000 of a mask does."""
    body = """
        a = Add (x, mask)
        y = Softmax <axis = -1> (a)
    """
    mask = np.where(np.arange(8) < 5, 0, -1e4).astype(np.float32)
    model = make(body, {}, x="1, 4, 8", y="1, 4, 8", constants={"mask": mask})
    x = np.random.default_rng(0).normal(size=(1, 4, 8)).astype(np.float32)
    found = Observer(model, ["x", "a"], batch=1).ranges(lambda _: [{"x": x}])
    low, high = found["a"]
    assert high == found["x"][1] or high == x[..., :5].max()
    assert high - 16 >= low >= x[..., :5].max(-1).min() - 16


def test_sums_that_nothing_normalizes_are_no_stream() -> None:
    assert residual_sums(blocks("OUT = Relu (IN)")) == frozenset()


@pytest.fixture
def samples(tmp_path: Path) -> str:
    draw = np.random.default_rng(3)
    np.save(tmp_path / "x.npy", draw.normal(size=(64, 1, 6, WIDTH)).astype(np.float32)[:, 0])
    return str(tmp_path / "x.npy")


def _kept_db(real: onnx.ModelProto, quantized: onnx.ModelProto) -> float:
    """On samples that nothing was chosen on."""
    sqnr, draw = Sqnr(), np.random.default_rng(8)
    sessions = [Session(model, optimize=False) for model in (real, quantized)]
    for _ in range(32):
        x = draw.normal(size=(1, 6, WIDTH)).astype(np.float32)
        sqnr.add(*(session({"x": x})[0] for session in sessions))
    return sqnr.db


@pytest.mark.parametrize("norms_behind", [False, True])
def test_a_limit_is_met_by_the_sums_alone(
    tmp_path: Path, samples: str, *, norms_behind: bool
) -> None:
    model = blocks(LAYER, norms_behind=norms_behind)
    src = write(model, tmp_path / "m.onnx")
    plain, metrics, _ = quantize(src, data=samples, accept_sqnr=-200.0)
    limit_db = metrics["sqnr_db"] + 0.5
    held, _, _ = quantize(src, data=samples, min_sqnr=limit_db)
    ladder = read_ladder(held)
    assert ladder is not None
    assert (ladder.met, ladder.chosen) == (True, "residual sums in float")
    assert set(ladder.float_layers) == residual_sums(model)
    # The products stay integer, and none was asked how sensitive it is.
    assert ladder.sensitivity == ()
    assert _kept_db(model, held) > _kept_db(model, plain) + 1


def test_products_before_the_sums_are_integer_and_lose_nothing_on_the_way(
    tmp_path: Path, samples: str
) -> None:
    model = blocks(LAYER, views=True)
    src = write(model, tmp_path / "m.onnx")
    held, _, _ = quantize(src, data=samples, min_sqnr=28.0)
    assert read_ladder(held) is not None
    graph = import_onnx(write(held, tmp_path / "held.onnx"))
    qdq_to_integer(graph)
    # A float product would be as slow as in the float model.
    assert {op.op for op in float_operators(graph)} == {"Add", "LayerNormalization", "Reshape"}
    quantized = {node.input[0] for node in held.graph.node if node.op_type == "QuantizeLinear"}
    assert not quantized & {f"p{number}" for number in range(BLOCKS)}


def test_who_does_not_ask_is_told_what_the_sums_cost(tmp_path: Path, samples: str) -> None:
    src = write(blocks(LAYER, 32), tmp_path / "m.onnx")
    _, metrics, notes = quantize(src, data=samples, accept_sqnr=-200.0)
    assert metrics["sqnr_db"] < 25
    said = "the residual stream is rounded at each of its 32 sums: min-sqnr 25"
    assert any(note.startswith(said) for note in notes)
