"""Einsum in matrix products: the same numbers, whatever is summed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.onnx_model.equivalents import write_in_others
from tests.compiler.kernels.harness import quick
from tests.compiler.onnx_model.same_numbers import (
    assert_same_numbers,
    by_onnxruntime,
    operators,
    parsed,
)

EXTENTS = {"a": 2, "b": 3, "c": 4, "d": 5, "e": 1, "h": 2, "i": 3, "j": 4, "k": 5}


def rewritten(equation: str, *, opset: int = 18, constants: tuple[int, ...] = ()) -> list[str]:
    """The operators in its place, after their numbers were held against its own."""
    rng = np.random.default_rng(1)
    left, _, right = equation.replace(" ", "").partition("->")
    # Two axes for dots.
    shapes = [[EXTENTS[label] for label in term.replace("...", "ai")] for term in left.split(",")]
    values = {f"x{i}": rng.normal(size=shape).astype(np.float32) for i, shape in enumerate(shapes)}
    feeds = {name: v for i, (name, v) in enumerate(values.items()) if i not in constants}
    inputs = ", ".join(f"float[{', '.join(map(str, values[name].shape))}] {name}" for name in feeds)
    rank = len(right.replace("...", "ai"))
    y = ", ".join(f"Y{i}" for i in range(rank))
    model = parsed(
        f'g ({inputs}) => (float[{y}] y) {{ y = Einsum <equation = "{equation}"> '
        f"({', '.join(values)}) }}",
        opset,
        **{name: v for name, v in values.items() if name not in feeds},
    )
    # The text form has no shape without axes.
    model.graph.output[0].type.tensor_type.shape.SetInParent()
    after = assert_same_numbers(model, write_in_others, run=by_onnxruntime, **feeds)
    return operators(after)


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("ij,jk->ik", ["MatMul"]),
        ("bhid,bhjd->bhij", ["Transpose", "MatMul"]),
        ("bhij,bhjd->bhid", ["MatMul"]),
        ("bij,jk->bik", ["MatMul"]),
        ("ij->ji", ["Transpose"]),
        ("ij,ij->ij", ["Mul"]),
        ("i,j->ij", ["Reshape", "Reshape", "Mul"]),
        ("ij->i", ["ReduceSum"]),
    ],
)
def test_an_einsum_is_what_people_write_it_for(equation: str, expected: list[str]) -> None:
    found = [op for op in rewritten(equation) if op != "Identity"]
    if equation == "bij,jk->bik":
        assert set(found) == {"MatMul", "Reshape"}
    else:
        assert found == expected


@pytest.mark.parametrize(
    "equation",
    [
        "abc,cd->abd", "abcd,cdk->abk", "ab,ab->", "ab,b->a", "a,a->a", "abc,abd->dca",
        "ab,cd->cbda", "abc->ca", "abc->", "...ij,...jk->...ik", "...b,bc->...c", "abc,bcd,dk->ak",
        "ab,bc,cd->da",
        "ij , jk -> ki", "bkhi,bjhi->bhkj",
    ],
)  # fmt: skip
@pytest.mark.parametrize("opset", [12, 18])
def test_an_einsum_has_the_same_numbers_in_products(equation: str, opset: int) -> None:
    assert "Einsum" not in rewritten(equation, opset=opset)


def test_an_einsum_without_an_arrow_keeps_what_stands_once() -> None:
    model = parsed(
        "g (float[3, 4] x, float[4, 5] z) => (float[M, N] y) "
        '{ y = Einsum <equation = "ij,jk"> (x, z) }'
    )
    x, z = (np.random.default_rng(2).normal(size=s).astype(np.float32) for s in ((3, 4), (4, 5)))
    after = assert_same_numbers(model, write_in_others, run=by_onnxruntime, x=x, z=z)
    assert "Einsum" not in operators(after)


@pytest.mark.parametrize("constant", [0, 1])
def test_weights_are_the_right_operand(constant: int) -> None:
    found = rewritten("abc,ck->abk" if constant else "ck,abc->abk", constants=(constant,))
    assert "MatMul" in found
    assert "Einsum" not in found


@given(data=st.data())
@quick
def test_any_sum_of_products_has_the_same_numbers(data: st.DataObject) -> None:
    labels = st.lists(st.sampled_from("abcd"), unique=True, min_size=1, max_size=4)
    terms = data.draw(st.lists(labels, min_size=1, max_size=3))
    every = sorted({label for term in terms for label in term})
    result = data.draw(st.lists(st.sampled_from(every), unique=True))
    equation = f"{','.join(map(''.join, terms))}->{''.join(result)}"
    assert "Einsum" not in rewritten(equation)


@pytest.mark.parametrize("equation", ["ii->i", "iij->j"])
def test_a_diagonal_stays_an_einsum(equation: str) -> None:
    assert rewritten(equation) == ["Einsum"]
