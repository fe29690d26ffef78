"""A transformer whose residual stream is float, from the command line to a program."""

from pathlib import Path

import numpy as np
import onnx

import edgekiln.runtime
from edgekiln.compiler.onnx_model.io import load_model
from edgekiln.compiler.onnx_model.session import Session
from tests.cli.conftest import Cli
from tests.compiler.float_models import make
from tests.compiler.quantization.test_residual_sums import LAYER, WIDTH, blocks


def test_a_program_gives_what_its_model_does(cli: Cli, tmp_path: Path) -> None:
    onnx.save(blocks(LAYER, views=True), tmp_path / "m.onnx")
    draw = np.random.default_rng(3)
    np.save(tmp_path / "x.npy", draw.normal(size=(64, 6, WIDTH)).astype(np.float32))
    quantized = cli("quantize", "m.onnx", "-o", "q.onnx", "--data", "x.npy", "--min-sqnr", 28)
    assert "residual sums in float: SQNR" in quantized.output
    assert cli("compile", "q.onnx", "-o", "m.lib").exit_code == 0
    x = draw.normal(size=(1, 6, WIDTH)).astype(np.float32)
    (real,) = Session(load_model(Path("q.onnx")), optimize=False)({"x": x})
    got = np.asarray(edgekiln.runtime.load("m.lib")(x))
    np.testing.assert_allclose(got, real, atol=1e-4)


BLOCK = """
    rB = Reshape (IN, flat)
    pB = MatMul (rB, uB)
    kB = Reshape (pB, deep)
    gB = Gelu (kB)
    qB = MatMul (gB, vB)
    sB = Add (qB, IN)
    OUT = LayerNormalization <axis = -1> (sB, fB, hB)
"""


def outlying(count: int = 6) -> onnx.ModelProto:
    """Blocks of an encoder that normalizes behind its sums, to values of which few are large."""
    draw = np.random.default_rng(2)
    large = np.where(np.arange(WIDTH) % 13 == 0, 40.0, 1.0).astype(np.float32)
    shift = (draw.normal(size=WIDTH) * large).astype(np.float32)
    constants = {"flat": np.array([-1, WIDTH]), "deep": np.array([1, 6, 64])}
    body = ""
    shapes: dict[str, tuple[int, ...]] = {"last": (WIDTH, 8)}
    for number in range(count):
        ends = {"IN": f"n{number - 1}" if number else "x", "OUT": f"n{number}"}
        block = BLOCK.replace("B", str(number))
        for name, tensor in ends.items():
            block = block.replace(name, tensor)
        body += block
        constants |= {f"f{number}": large, f"h{number}": shift}
        shapes |= {f"u{number}": (WIDTH, 64), f"v{number}": (64, WIDTH)}
    body += "y = MatMul (n5, last)"
    model = make(body, shapes, x=f"1, 6, {WIDTH}", y="1, 6, 8",
        constants=constants)  # fmt: skip
    # What reads a large channel has small weights for it, as trained networks have.
    for weight in model.graph.initializer:
        if weight.name[0] in "ul" and len(weight.dims) == 2:
            array = onnx.numpy_helper.to_array(weight) / large[:, None]
            weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    return model


def test_few_large_channels_cost_a_stream_no_float_product(cli: Cli, tmp_path: Path) -> None:
    """Float values are balanced on their way to the products, which stay integer."""
    onnx.save(outlying(), tmp_path / "m.onnx")
    draw = np.random.default_rng(3)
    np.save(tmp_path / "x.npy", draw.normal(size=(64, 6, WIDTH)).astype(np.float32))
    quantized = cli("quantize", "m.onnx", "-o", "q.onnx", "--data", "x.npy", "--min-sqnr", 30)
    assert "activations in float: SQNR" in quantized.output
    assert cli("compile", "q.onnx", "-o", "m.lib").exit_code == 0
    x = draw.normal(size=(1, 6, WIDTH)).astype(np.float32)
    (real,) = Session(load_model(Path("q.onnx")), optimize=False)({"x": x})
    got = np.asarray(edgekiln.runtime.load("m.lib")(x))
    np.testing.assert_allclose(got, real, atol=1e-4)
    nodes = load_model(Path("q.onnx")).graph.node
    makers = {out: node.op_type for node in nodes for out in node.output}
    read = {makers[name] for node in nodes if node.op_type == "MatMul" for name in node.input}
    assert read == {"DequantizeLinear"}
