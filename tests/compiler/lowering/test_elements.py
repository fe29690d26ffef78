"""Casts, comparisons, logic and choices of several values, compiled, against ONNX Runtime."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.compiler.lowering.programs import images, parsed, program, reference

_LOGIC = """
    g = Greater (a, b)  h = Less (a, low)  n = Not (h)  o = Or (g, n)  e = Xor (o, h)
    f = And (e, o)  y = Where (f, a, b)
"""
_SHAPED = "float[2, 3, 5] y"


@pytest.mark.parametrize(
    ("operands", "body"),
    [
        ("bool[2, 3, 5] a, float[2, 3, 5] b, float[2, 3, 5] c", "y = Where (a, b, c)"),
        ("bool[2, 1, 5] a, float[2, 3, 1] b, float[3, 5] c", "y = Where (a, b, c)"),
        ("bool[1, 3, 1] a, float[2, 3, 5] b", "y = Where (a, b, low)"),
        ("bool[5] a, float[2, 3, 5] b", "y = Where (a, low, b)"),
        ("float[2, 3, 5] a, float[2, 3, 5] b", "g = Greater (a, b) y = Where (g, a, b)"),
        ("float[2, 3, 5] a, float[3, 1] b", "g = LessOrEqual (a, b) y = Cast <to = 1> (g)"),
        ("float[2, 3, 5] a, float[2, 3, 5] b", _LOGIC),
        ("float[2, 3, 5] a", "i = Cast <to = 6> (a) y = Cast <to = 1> (i)"),
        ("float[2, 3, 5] a", "i = Cast <to = 7> (a) j = Cast <to = 6> (i) y = Cast <to = 1> (j)"),
        ("int64[2, 3, 5] a, int64[2, 3, 5] b", "e = Equal (a, b) y = Cast <to = 1> (e)"),
        ("int16[2, 3, 5] a", "y = Cast <to = 1> (a)"),
        ("uint8[2, 3, 5] a", "b = Cast <to = 9> (a) y = Where (b, low, high)"),
        ("int32[2, 3, 5] a", "b = Cast <to = 9> (a) y = Where (b, low, high)"),
    ],
)
def test_as_onnx_runtime(tmp_path: Path, operands: str, body: str) -> None:
    numbers = {"low": np.array(-1, np.float32), "high": np.array(2, np.float32)}
    used = {name: value for name, value in numbers.items() if name in body}
    path = parsed(tmp_path, f"m ({operands}) => ({_SHAPED}) {{ {body} }}", 17, **used)
    arrays, given = [], re.findall(r"(\w+)\[([\d, ]+)\]", operands)
    for seed, (kind, shape) in enumerate(given):
        x = images(*map(int, shape.split(",")), seed=seed)
        x = np.abs(x) if kind == "uint8" else x
        if kind == "float" and len(given) > 1:
            x.flat[0] = np.nan
        arrays.append(x > 0 if kind == "bool" else x.astype(kind.replace("float", "float32")))
    runner = program(path)
    assert "fallback" not in {layer.op for layer in runner.spec.layers}
    np.testing.assert_array_equal(runner.run(*arrays)[0], reference(path, *arrays)[0])


@pytest.mark.parametrize("op", ["Equal", "GreaterOrEqual"])
def test_truth_values_are_given(tmp_path: Path, op: str) -> None:
    text = f"m (float[4, 7] a, float[1, 7] b) => (bool[4, 7] y) {{ y = {op} (a, b) }}"
    path = parsed(tmp_path, text)
    a, b = images(4, 7).round(), images(1, 7, seed=1).round()
    a[0, 0], b[0, 3] = np.nan, np.nan
    (found,) = program(path).run(a, b)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, reference(path, a, b)[0])
