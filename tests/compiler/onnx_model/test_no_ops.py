"""What gives what it is given is no work."""

import numpy as np
import pytest

from edgekiln.compiler.onnx_model.equivalents import write_in_others
from edgekiln.compiler.onnx_model.gemm import plain_gemm
from edgekiln.compiler.onnx_model.operands import check
from edgekiln.runtime.errors import InputError
from tests.compiler.onnx_model.same_numbers import (
    assert_same_numbers,
    by_onnxruntime,
    operators,
    parsed,
)

X = np.random.default_rng(0).normal(size=(2, 1, 6)).astype(np.float32)


def test_a_cast_to_the_type_that_is_there() -> None:
    model = parsed("g (float[2, 1, 6] x) => (float[2, 1, 6] y) { y = Cast <to = 1> (x) }")
    after = assert_same_numbers(model, write_in_others, run=by_onnxruntime, x=X)
    assert operators(after) == ["Identity"]


def test_a_cast_to_another_type_stays() -> None:
    model = parsed("g (float[2, 1, 6] x) => (int32[2, 1, 6] y) { y = Cast <to = 6> (x) }")
    assert write_in_others(model) == 0


@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_mean_of_one_value_each(keepdims: int) -> None:
    shape = "2, 1, 6" if keepdims else "2, 6"
    model = parsed(
        f"g (float[2, 1, 6] x) => (float[{shape}] y)"
        f"{{ y = ReduceMean <keepdims = {keepdims}> (x, axes) }}",
        axes=np.array([1]),
    )
    after = assert_same_numbers(model, write_in_others, run=by_onnxruntime, x=X)
    assert operators(after) == ["Reshape"]


def test_a_mean_of_more_stays() -> None:
    model = parsed(
        "g (float[2, 1, 6] x) => (float[2, 1] y) { y = ReduceMean <keepdims = 0> (x, axes) }",
        axes=np.array([2]),
    )
    assert write_in_others(model) == 0


@pytest.mark.parametrize(("exponent", "kinds"), [(2.0, ["Mul"]), (3.0, ["Pow"])])
def test_the_second_power_of_floats_is_a_product(exponent: float, kinds: list[str]) -> None:
    model = parsed(
        "g (float[2, 1, 6] x) => (float[2, 1, 6] y) { y = Pow (x, e) }",
        e=np.array(exponent, np.float32),
    )
    if kinds == ["Mul"]:
        after = assert_same_numbers(model, write_in_others, run=by_onnxruntime, x=X)
        assert operators(after) == kinds
    else:
        assert write_in_others(model) == 0


def test_a_product_takes_no_addend_that_changes_from_call_to_call() -> None:
    """As in a recurrent step, whose gates add what the state gives to what the input gives."""
    model = parsed(
        "g (float[1, 6] x, float[1, 4] z) => (float[1, 4] y) { y = Gemm <transB = 1> (x, w, z) }",
        w=np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32),
    )
    given = {"x": X[0], "z": np.ones((1, 4), np.float32)}
    after = assert_same_numbers(model, plain_gemm, run=by_onnxruntime, **given)
    assert operators(after) == ["Gemm", "Add"]
    assert len(after.graph.node[0].input) == 2


@pytest.mark.parametrize(
    ("scale", "zero", "right"),
    [((1,), (), True), ((), (1,), True), ((3,), (3,), True), ((3,), (), False)],
)
def test_one_scale_and_its_zero_point_may_differ_in_rank(
    scale: tuple[int, ...], zero: tuple[int, ...], right: bool
) -> None:
    model = parsed(
        "g (int32[3] x) => (float[3] y) { y = DequantizeLinear <axis = 0> (x, s, z) }",
        s=np.ones(scale, np.float32), z=np.zeros(zero, np.int32),
    )  # fmt: skip
    if right:
        check(model.graph, "m")
        assert by_onnxruntime(model, {"x": np.arange(3, dtype=np.int32)})[0].tolist() == [0, 1, 2]
    else:
        with pytest.raises(InputError, match="a zero point of shape"):
            check(model.graph, "m")
