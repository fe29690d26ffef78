"""Reductions of float models against ONNX Runtime, over any axes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiler.kernels.harness import quick
from tests.compiler.lowering.programs import ours, parsed, program, reference

OPERATORS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)  # fmt: skip


def model(path: Path, shape: tuple[int, ...], axes: list[int], keepdims: int) -> Path:
    kept = [n for i, n in enumerate(shape) if i not in axes]
    result = [1 if i in axes else n for i, n in enumerate(shape)] if keepdims else kept
    nodes = " ".join(f"{op}_y = {op} <keepdims = {keepdims}> (x, axes)" for op in OPERATORS)
    results = ", ".join(f"float[{', '.join(map(str, result))}] {op}_y" for op in OPERATORS)
    text = f"m (float[{', '.join(map(str, shape))}] x) => ({results}) {{ {nodes} }}"
    return parsed(path, text, 18, axes=np.array(axes))


@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=5).map(tuple),
    data=st.data(),
    keepdims=st.integers(0, 1),
)
@settings(quick, max_examples=2)
def test_any_axes(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, ...],
    data: st.DataObject,
    keepdims: int,
) -> None:
    every = range(len(shape))
    axes = data.draw(st.lists(st.sampled_from(every), min_size=1, unique=True))
    # ONNX's text has no form for a result without axes.
    keepdims = 1 if len(axes) == len(shape) else keepdims
    path = model(tmp_path_factory.mktemp("reduce"), shape, axes, keepdims)
    x = np.random.default_rng(sum(shape)).uniform(0.5, 1.5, shape).astype(np.float32)
    runner = program(path)
    assert "fallback" not in {layer.op for layer in runner.spec.layers}
    for op, found, expected in zip(OPERATORS, runner.run(x), reference(path, x), strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(np.asarray(found, np.float64), expected, rtol=2e-5, err_msg=op)


def test_signs_and_what_is_no_number(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(4, 3, 20)).astype(np.float32)
    x[1, 1, 7], x[2, 0, 19], x[3, 2, 0] = np.nan, np.inf, -np.inf
    path = model(tmp_path, x.shape, [2], 0)
    # ONNX Runtime's greatest of a row with NaN depends on where in it NaN is.
    exact = {"ReduceMax": x.max(2), "ReduceMin": x.min(2)}
    results = ours(path, x)
    assert len(results) == len(OPERATORS)
    for op, found, theirs in zip(OPERATORS, results, reference(path, x), strict=True):
        expected = exact.get(op, theirs)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=op)


@pytest.mark.parametrize(("axis", "fallback"), [(-1, False), (1, True)])
def test_log_softmax(tmp_path: Path, axis: int, fallback: bool) -> None:
    text = f"m (float[2, 3, 21] x) => (float[2, 3, 21] y) {{ y = LogSoftmax <axis = {axis}> (x) }}"
    path = parsed(tmp_path, text)
    x = np.random.default_rng(1).normal(0, 9, (2, 3, 21)).astype(np.float32)
    x[0, 0, 3], x[1, 1, 4], x[1, 2, 5] = -np.inf, np.nan, np.inf
    runner = program(path)
    assert ("fallback" in {layer.op for layer in runner.spec.layers}) == fallback
    found = np.asarray(runner.run(x)[0], np.float64)
    np.testing.assert_allclose(found, reference(path, x)[0], rtol=1e-5, atol=1e-5)
