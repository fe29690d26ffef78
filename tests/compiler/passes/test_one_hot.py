"""Comparisons of numbers with places are rows, and a product of rows is a table."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from edgekiln.compiler.ir.moves import Take
from edgekiln.compiler.ir.selection_ops import OneHot
from tests.compiler.lowering.programs import ours, parsed, reference
from tests.compiler.passes.graphs import (
    assert_changes_once,
    assert_leaves_alone,
    before,
    every,
    kinds,
    lowered,
    only,
)
from tests.compiler.qdq_models import QdqModel

_WIDE = 9
_NUMBERS = np.array([[0, 8, 3, -1, 9, -9, 2**31 - 1]], np.int32)


def chosen(path: Path, places: list[int], *, kept: bool = False, zero: int = -128) -> Path:
    """Bytes as rows of one 1, a dense layer with a function behind it: magika's beginning."""
    m = QdqModel(seed=6)
    x = m.op(
        "Unsqueeze", m.input("x", 1, 7, dtype=TensorProto.INT32), m.const([2], "int64"), out="u"
    )
    equal = m.op("Equal", x, m.const([[places]], "int32"), out="equal")
    rows = m.q(m.op("Cast", equal, out="rows", to=TensorProto.FLOAT), 1 / 255, zero)
    weight, _ = m.weight(_WIDE, 5, axis=1)
    product = m.q(m.op("MatMul", rows, weight, out="product"), 0.011, 5)
    curved = m.q(m.op("Sigmoid", product, out="curved"), 0.004, -128)
    return m.save(path / "m.onnx", curved, *([product] if kept else []))


def test_rows_of_quantized_floats_are_made_as_codes(tmp_path: Path) -> None:
    graph = before("one_hot", chosen(tmp_path, [*range(_WIDE)]))
    assert_changes_once("one_hot", graph)
    made = only(graph, OneHot)
    assert (made.axis, made.on.value, made.off.value) == (2, 127, -128)
    (node,) = (node for node in graph.nodes if isinstance(node.op, OneHot))
    assert node.inputs == ("x",)  # the numbers as the program is given them


def test_a_product_of_rows_and_the_function_behind_it_is_one_table(tmp_path: Path) -> None:
    graph = before("one_hot_product", chosen(tmp_path, [*range(_WIDE)]))
    assert_changes_once("one_hot_product", graph)
    assert kinds(graph) == ["take", "reshape", "dequantize"]
    assert graph.constants["curved_q:table"].shape == (_WIDE + 1, 5)


def test_a_product_that_is_a_result_is_taken_and_its_function_looked_up(tmp_path: Path) -> None:
    graph = lowered(chosen(tmp_path, [*range(_WIDE)], kept=True))
    assert "dense" not in kinds(graph)
    assert {"take", "lookup"} < {*kinds(graph)}


def test_other_places_than_0_1_2_stay_comparisons(tmp_path: Path) -> None:
    path = chosen(tmp_path, [1, 0, *range(2, _WIDE)])
    assert_leaves_alone("one_hot", before("one_hot", path))


@pytest.mark.parametrize("zero", [-128, -3, 127])
@pytest.mark.parametrize("kept", [False, True])
def test_programs_take_what_onnx_runtime_computes(tmp_path: Path, zero: int, kept: bool) -> None:
    """Of numbers that name no place, too."""
    model = chosen(tmp_path, [*range(_WIDE)], kept=kept, zero=zero)
    found = ours(model, _NUMBERS)
    assert len(found) == 1 + kept
    np.testing.assert_array_equal(found[0], reference(model, _NUMBERS)[0])
    np.testing.assert_array_equal(found[-1], reference(model, _NUMBERS)[-1])


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("values", [(0.0, 1.0), (-0.5, 3.0)])
def test_onnxs_one_hot_has_a_kernel(tmp_path: Path, axis: int, values: tuple[float, float]) -> None:
    """There negative numbers count from the end."""
    model = parsed(
        tmp_path,
        f"g (int64[2, 3] x) => (float[N, M, K] y) {{ y = OneHot <axis = {axis}> (x, depth, v) }}",
        depth=np.array(5), v=np.array(values, np.float32),
    )  # fmt: skip
    graph = before("float_kernels", model)
    assert len(every(graph, OneHot)) == 1
    x = np.array([[0, 4, -1], [-5, 2, 9]])
    np.testing.assert_array_equal(ours(model, x)[0], reference(model, x)[0])


def test_a_float_product_of_rows_is_a_choice_of_weights(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    model = parsed(
        tmp_path,
        "g (int64[7] x) => (float[7, 33] y) { rows = OneHot (x, depth, v) "
        "p = MatMul (rows, w) s = Add (p, b) y = Relu (s) }",
        depth=np.array(9), v=np.array([0, 1], np.float32),
        w=draw.normal(size=(9, 33)).astype(np.float32), b=draw.normal(size=33).astype(np.float32),
    )  # fmt: skip
    graph = lowered(model)
    assert (len(every(graph, Take)), "dense" in kinds(graph)) == (1, False)
    x = np.array([0, 8, 3, -1, 9, -9, -10])
    np.testing.assert_array_equal(ours(model, x)[0], reference(model, x)[0])
