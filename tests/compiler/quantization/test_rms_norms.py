"""Normalization by the root of the mean square is known by its form, and stays float."""

from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.onnx_model.rewriting import facts_of
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization.prepare import prepare
from edgekiln.compiler.quantization.residual_sums import residual_sums
from edgekiln.compiler.quantization.rms_norms import rms_norms
from edgekiln.compiler.quantization.sqnr import Sqnr
from tests.compiler.float_models import make, write
from tests.compiler.quantizing import quantize

WIDTH = 32
# As ONNX defines it, and as PyTorch's exporters write it.
BY_DIVISION = """
    q = Mul (IN, IN)
    m = ReduceMean <keepdims = 1> (q, axes)
    e = Add (m, eps)
    r = Sqrt (e)
    d = Div (IN, r)
    OUT = Mul (d, scale)
"""
BY_RECIPROCAL = """
    q = Pow (IN, two)
    m = ReduceMean <keepdims = 1> (q, axes)
    e = Add (m, eps)
    s = Sqrt (e)
    r = Reciprocal (s)
    d = Mul (IN, r)
    OUT = Mul (scale, d)
"""
CONSTANTS = {
    "axes": np.array([-1]), "eps": np.float32(1e-6), "two": np.float32(2),
    "scale": np.linspace(0.5, 2, WIDTH, dtype=np.float32),
}  # fmt: skip
SHAPE = f"1, 6, {WIDTH}"


def normalized(form: str, last: str = "y = MatMul (n, w)") -> str:
    return form.replace("IN", "x").replace("OUT", "n") + last


@pytest.mark.parametrize("form", [BY_DIVISION, BY_RECIPROCAL])
def test_it_is_known_in_every_form(form: str) -> None:
    model = prepare(make(normalized(form), {"w": (WIDTH, 4)}, x=SHAPE, y="1, 6, 4",
        constants=CONSTANTS))  # fmt: skip
    (found,) = rms_norms(facts_of(model), list(model.graph.node))
    assert found.tensor == "x"
    assert found.output == "n"
    # All but the product behind it.
    assert len(found.nodes) == len(model.graph.node) - 1


@pytest.mark.parametrize(
    "body",
    [
        BY_DIVISION.replace("r = Sqrt (e)", "r = Exp (e)"),
        BY_DIVISION.replace("d = Div (IN, r)", "d = Div (q, r)"),
        BY_DIVISION.replace("e = Add (m, eps)", "e = Add (m, IN)"),
    ],
)
def test_what_looks_like_it_is_not_taken_for_it(body: str) -> None:
    model = make(normalized(body), {"w": (WIDTH, 4)}, x=SHAPE, y="1, 6, 4", constants=CONSTANTS)
    assert list(rms_norms(facts_of(model), list(model.graph.node))) == []


def blocks(count: int = 8) -> str:
    body, stream = "", "x"
    for number in range(count):
        names = {"IN": stream, "OUT": f"n{number}"}
        lines = BY_DIVISION
        for name in "qmerd":
            lines = lines.replace(f" {name} =", f" {name}{number} =")
            lines = lines.replace(f"({name})", f"({name}{number})")
            lines = lines.replace(f"({name},", f"({name}{number},")
            lines = lines.replace(f", {name})", f", {name}{number})")
        for name, tensor in names.items():
            lines = lines.replace(name, tensor)
        body += f"{lines}p{number} = MatMul (n{number}, w)\ns{number} = Add ({stream}, p{number})\n"
        stream = f"s{number}"
    return f"{body}y = MatMul ({stream}, v)"


def test_rows_of_every_size_keep_their_signal_and_the_stream_is_found(tmp_path: Path) -> None:
    """One scale of the squares for all rows would leave the small ones nothing."""
    model = make(blocks(), {"w": (WIDTH, WIDTH), "v": (WIDTH, 4)}, x=SHAPE, y="1, 6, 4",
        constants=CONSTANTS)  # fmt: skip
    draw = np.random.default_rng(1)
    sizes = np.array([0.05, 1, 1, 1, 1, 8], np.float32)[:, None]
    np.save(tmp_path / "x.npy", draw.normal(size=(64, 6, WIDTH)).astype(np.float32) * sizes)
    assert residual_sums(prepare(model)) == {f"s{number}" for number in range(7)}
    quantized, _, _ = quantize(
        write(model, tmp_path / "m.onnx"), data=str(tmp_path / "x.npy"), min_sqnr=25.0
    )
    sqnr = Sqnr()
    real, found = (Session(each, optimize=False) for each in (model, quantized))
    for _ in range(16):
        x = draw.normal(size=(1, 6, WIDTH)).astype(np.float32) * sizes
        sqnr.add(real({"x": x})[0], found({"x": x})[0])
    assert sqnr.db > 24
