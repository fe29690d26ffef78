"""Attention with masks of the least float32: numbers that no code stands for."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest

import edgekiln.runtime
from edgekiln.compiler.onnx_model.io import load_model
from edgekiln.compiler.onnx_model.session import Session
from tests.cli.conftest import Cli
from tests.compiler.float_models import make

LEAST = float(np.finfo(np.float32).min)
ROWS, WIDTH = 6, 16
CONSTANTS: dict[str, np.ndarray] = {
    "zero": np.array([0]), "one": np.array([1]), "two": np.array([2]),
    "least": np.array(LEAST, np.float32), "nought": np.array(0, np.float32),
    "ones": np.array(1, np.float32), "quarter": np.array(0.25, np.float32),
    "infinite": np.array(-np.inf, np.float32), "distant": np.array(-1e9, np.float32),
    "lower": np.triu(np.full((ROWS, ROWS), -1e9, np.float32), 1)[None],
    "least_lower": np.triu(np.full((ROWS, ROWS), LEAST, np.float32), 1)[None],
    "rows": np.array([-1, ROWS, ROWS]),
}  # fmt: skip
# As PyTorch exports `is_causal=True`: the mask comes from a part of a shape that is open.
CAUSAL = """
    h = Shape (x)
    e = Slice (h, one, two)
    g = Concat <axis = 0> (e, e)
    r = Expand (ones, g)
    t = Trilu <upper = 0> (r)
    b = Equal (t, ones)
    m = Where (b, nought, least)
"""
# Rows are not looked at that begin with a number below 0: each call has its own mask.
OF_DATA = """
    f = Slice (k, zero, one, one)
    b = Less (f, nought)
    m = Where (b, least, nought)
"""


def attention(mask: str) -> onnx.ModelProto:
    body = f"""
        k = Transpose <perm = [0, 2, 1]> (x)
        s = MatMul (x, k)
        {mask}
        a = Add (s, m)
        p = Softmax <axis = -1> (a)
        v = MatMul (x, wv)
        o = MatMul (p, v)
        y = MatMul (o, wo)
    """
    weights: dict[str, tuple[int, ...]] = {"wv": (WIDTH, WIDTH), "wo": (WIDTH, 4)}
    return made(body, weights)


def made(body: str, weights: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    used = {name: value for name, value in CONSTANTS.items() if name in re.findall(r"\w+", body)}
    return make(body, weights, x=f"N, {ROWS}, {WIDTH}", y=f"N, {ROWS}, 4", constants=used)


@pytest.mark.parametrize("mask", [CAUSAL, OF_DATA])
def test_a_mask_of_the_least_float_leaves_the_scores_their_codes(
    cli: Cli, tmp_path: Path, mask: str
) -> None:
    onnx.save(attention(mask), tmp_path / "m.onnx")
    draw = np.random.default_rng(3)
    np.save(tmp_path / "x.npy", draw.normal(size=(64, ROWS, WIDTH)).astype(np.float32))
    quantized = cli("quantize", "m.onnx", "-o", "q.onnx", "--calibrate", "x.npy")
    assert "Add a stays float" in quantized.output
    assert cli("compile", "q.onnx", "-o", "m.lib").exit_code == 0
    x = draw.normal(size=(1, ROWS, WIDTH)).astype(np.float32)
    coded, exact = (
        Session(load_model(Path(name)), optimize=False)({"x": x})[0]
        for name in ("q.onnx", "m.onnx")
    )
    got = np.asarray(edgekiln.runtime.load("m.lib")(x))
    np.testing.assert_allclose(got, coded, atol=1e-4)
    noise = np.square(got - exact).sum() / np.square(exact).sum()
    assert 10 * np.log10(noise) < -25


# What lies between a mask and the softmax, or what a sum of two masks overflows to.
ON_THE_WAY = {
    "scaled afterwards": """
        m = Where (b, distant, nought)
        a = Add (s, m)
        z = Mul (a, quarter)
    """,
    "two, one by one": """
        m = Where (b, distant, nought)
        c = Add (s, lower)
        z = Add (c, m)
    """,
    "reshaped": """
        m = Where (b, distant, nought)
        a = Add (s, m)
        z = Reshape (a, rows)
    """,
    "infinite": """
        m = Where (b, infinite, nought)
        z = Add (s, m)
    """,
    "two that overflow": """
        m = Where (b, least, nought)
        c = Add (m, least_lower)
        z = Add (s, c)
    """,
}


@pytest.mark.parametrize("way", ON_THE_WAY)
def test_a_mask_leaves_the_scores_their_codes_on_every_way_to_the_softmax(
    cli: Cli, tmp_path: Path, way: str
) -> None:
    """Only later positions are masked: no row is without a score."""
    body = f"""
        k = Transpose <perm = [0, 2, 1]> (x)
        s = MatMul (x, k)
        h = Shape (x)
        e = Slice (h, one, two)
        g = Concat <axis = 0> (e, e)
        r = Expand (ones, g)
        t = Trilu <upper = 0> (r)
        b = Less (t, ones)
        {ON_THE_WAY[way]}
        p = Softmax <axis = -1> (z)
        v = MatMul (x, wv)
        o = MatMul (p, v)
        y = MatMul (o, wo)
    """
    onnx.save(made(body, {"wv": (WIDTH, WIDTH), "wo": (WIDTH, 4)}), tmp_path / "m.onnx")
    draw = np.random.default_rng(3)
    np.save(tmp_path / "x.npy", draw.normal(size=(64, ROWS, WIDTH)).astype(np.float32))
    quantized = cli("quantize", "m.onnx", "-o", "q.onnx", "--calibrate", "x.npy")
    assert quantized.exit_code == 0, quantized.output
    assert cli("compile", "q.onnx", "-o", "m.lib").exit_code == 0
    x = draw.normal(size=(1, ROWS, WIDTH)).astype(np.float32)
    exact = Session(load_model(Path("m.onnx")), optimize=False)({"x": x})[0]
    got = np.asarray(edgekiln.runtime.load("m.lib")(x))
    noise = np.square(got - exact).sum() / np.square(exact).sum()
    assert 10 * np.log10(noise) < -25
