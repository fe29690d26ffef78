"""A right program is not called wrong because ONNX Runtime is."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekiln.compiler.evaluation.difference import APART, TensorDifference
from edgekiln.compiler.evaluation.judgement import Judgement
from edgekiln.compiler.evaluation.parity import links
from edgekiln.compiler.evaluation.referee import Referee, rounded
from edgekiln.runtime.codec import to_json
from tests.compiler.evaluation.judged import only_here, pooled, verified
from tests.compiler.qdq_models import QdqModel

pytestmark = only_here


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("AveragePool", {"kernel_shape": [4, 4], "strides": [4, 4]}),
        ("GlobalAveragePool", {}),
    ],
)
@pytest.mark.parametrize("scale", [0.0273, 0.11])
def test_ties_of_averages_are_decided_exactly(
    tmp_path: Path, kind: str, attributes: dict[str, object], scale: float
) -> None:
    model = pooled(tmp_path / "pool.onnx", kind, scale, **attributes)
    result = verified(model)
    result.check()
    for each in result.judged:
        assert each.program_off == 0
        assert each.onnxruntime_is_off


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 3], "strides": [2, 3]},
        {"kernel_shape": [2, 7], "strides": [2, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    ],
)
def test_ties_that_no_float_holds_may_go_either_way(
    tmp_path: Path, attributes: dict[str, Any]
) -> None:
    """A sixth is no float32, so the middle between two codes is neither engine's to hit."""
    result = verified(pooled(tmp_path / "pool.onnx", **attributes))
    result.check()
    assert [each.program_off for each in result.judged] == [0] * len(result.judged)


def test_what_float32_cannot_tell_of_16_bits_may_go_either_way(tmp_path: Path) -> None:
    """10259 steps of the one scale are 11873.49967 of the other, and 11873.5 in float32."""
    m = QdqModel(opset=21, dtype="int16")
    x = m.q(m.input("x", 1, 2), scale=0.00013090453285258263, zero=0)
    y = m.q(m.op("Relu", x, out="r"), scale=0.0001131047829403542, zero=0)
    model = m.save(tmp_path / "m.onnx", y)
    referee = Referee(onnx.load(model), {"x_q", "r_q"})
    codes = {"x_q": np.array([[10259, 10260]], np.int16)}
    bounds = referee.bounds("r_q", codes)
    assert bounds is not None
    np.testing.assert_array_equal(bounds, [[[11873, 11875]], [[11874, 11875]]])


@pytest.mark.parametrize("seed", range(3))
def test_sums_of_floats_that_become_16_bits_differ_by_their_order(
    tmp_path: Path, seed: int
) -> None:
    m = QdqModel(seed=seed, opset=21, dtype="int16")
    x = m.q(m.input("x", 1, 64, 16, 16), scale=1e-4, zero=0)
    # Asymmetric weights of nine bits: they are multiplied as floats.
    codes = m.const(m.rng.integers(0, 256, (16, 64, 3, 3)), "uint8")
    scale, zero = m.const(0.01, "float32"), m.const(90, "uint8")
    weights = m.op("DequantizeLinear", codes, scale, zero, out="w")
    y = m.q(m.op("Conv", x, weights, out="c"), scale=2e-3, zero=0)
    result = verified(m.save(tmp_path / "m.onnx", y))
    assert [gap.op for gap in result.layers if gap.differing] == ["conv2d"]
    result.check()


def test_onnx_runtime_is_named_where_it_is_off(tmp_path: Path) -> None:
    model = pooled(tmp_path / "pool.onnx", kernel_shape=[2, 2], strides=[2, 2])
    result = verified(model)
    (judged,) = result.judged
    gap = next(layer for layer in result.layers if layer.name == judged.name)
    assert not gap.ok
    assert (judged.program_off, judged.onnxruntime_off) == (0, gap.differing)
    (line,) = result.verdicts()
    assert line == (
        f"ONNX Runtime is off in {judged.name} (avg_pool), exact arithmetic says: "
        f"{gap.differing} of its {gap.elements} values are others, 0 of the program's"
    )


def test_a_value_that_is_two_outputs_is_compared_as_both(tmp_path: Path) -> None:
    path = pooled(tmp_path / "net.onnx", kernel_shape=[2, 2])
    model = onnx.load(path)
    model.graph.output.append(model.graph.output[0])
    onnx.save(model, path)
    result = verified(path)
    result.check()
    assert [gap.differing for gap in result.outputs] == [result.outputs[0].differing] * 2
    assert result.agreement == 1.0


def test_small_sigmoids_are_judged_by_float64(tmp_path: Path) -> None:
    """ONNX Runtime's are an approximation, off by 1e-4 of the value where that is small."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 64)) for name in ("x", "y"))
    bias = helper.make_tensor("b", TensorProto.FLOAT, (1,), [-10.0])
    nodes = [
        helper.make_node("Add", ["x", "b"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [bias])
    model = tmp_path / "sigmoid.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), model)
    result = verified(model)
    result.check()
    (judged,) = result.judged
    assert judged.max_steps is None
    assert judged.sqnr_db is not None
    assert judged.sqnr_db > 120
    assert judged.onnxruntime_sqnr_db is not None
    assert judged.onnxruntime_sqnr_db < 80
    assert "its SQNR is " in next(result.verdicts())


def test_a_layer_that_no_reference_computes_is_held_against_onnx_runtime() -> None:
    node = helper.make_node("Mystery", ["x"], ["y"], domain="com.example")
    graph = helper.make_graph([node], "g", [], [])
    referee = Referee(helper.make_model(graph), {"x"})
    assert referee.judge("y", {"x": np.zeros(3, np.float32)}) is None


def test_the_middle_between_two_codes_goes_to_the_even_one() -> None:
    levels = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.5 + 1e-12, 1.5 - 1e-12, 0.5001, 1.4999])
    np.testing.assert_array_equal(rounded(levels), [0, 2, 2, 0, -2, 0, 2, 1, 1])


def judgement(**changes: object) -> Judgement:
    plain = Judgement(
        name="y", op="conv2d", elements=1000, program_off=0, onnxruntime_off=100, max_steps=0.0,
        sqnr_db=None, onnxruntime_sqnr_db=30.0,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "ok"),
    [
        ({}, True),
        ({"program_off": 1, "max_steps": 1.0}, False),
        ({"max_steps": None, "sqnr_db": 80.0}, True),
        ({"max_steps": None, "sqnr_db": 79.9}, False),
    ],
)
def test_a_program_is_judged_by_what_is_exact(changes: dict[str, object], ok: bool) -> None:
    assert judgement(**changes).ok is ok


def test_what_is_no_number_is_equal_to_its_like_and_far_from_all_else() -> None:
    nan, inf = np.nan, np.inf
    same = TensorDifference()
    same.add(np.array([nan, inf, -inf, 1.0]), np.array([nan, inf, -inf, 1.0]))
    assert (same.differing, same.max_abs, same.sqnr_db) == (0, 0.0, None)
    for ours, theirs in ((nan, 1.0), (1.0, nan), (inf, -inf), (inf, 1.0), (nan, inf)):
        other = TensorDifference()
        other.add(np.array([ours, 2.0]), np.array([theirs, 2.0]))
        assert (other.elements, other.differing, other.max_abs) == (2, 1, APART)
        assert other.sqnr_db is not None
        assert other.sqnr_db < 0
        json.dumps([other.max_abs, other.sqnr_db], allow_nan=False)


def test_links_of_outputs_that_are_no_numbers_can_be_printed() -> None:
    batch = {"x": np.zeros((1, 2), np.float32)}
    models = [
        ("a", lambda _: np.array([[np.nan, 1.0]], np.float32)),
        ("b", lambda _: np.array([[np.nan, 1.0]], np.float32)),
        ("c", lambda _: np.array([[0.0, np.inf]], np.float32)),
    ]
    equal, apart = links(models, [batch])
    assert (equal.max_abs, equal.sqnr_db) == (0.0, None)
    assert apart.max_abs == APART
    to_json([equal, apart])


def test_scalars_are_linked_like_rows() -> None:
    models = [
        ("a", lambda _: np.array(1.0, np.float32)),
        ("b", lambda _: np.array(1.5, np.float32)),
    ]
    (link,) = links(models, [{"x": np.zeros((1, 2), np.float32)}])
    assert link.max_abs == 0.5


def test_what_float32_cannot_tell_from_a_tie_may_go_either_way() -> None:
    near, far = 2.0**-15, 2.0**-13
    levels = np.array([2.5, 2.5 + near, 2.5 - near, 2.5 + far, 2.5 - far])
    np.testing.assert_array_equal(rounded(levels), [2, 3, 2, 3, 2])
    np.testing.assert_array_equal(rounded(levels, -1), [2, 2, 2, 3, 2])
    np.testing.assert_array_equal(rounded(levels, 1), [2, 3, 3, 3, 2])
    np.testing.assert_array_equal(rounded(levels, -1, ties=True), [2, 2, 2, 3, 2])
    np.testing.assert_array_equal(rounded(levels, 1, ties=True), [3, 3, 3, 3, 2])
