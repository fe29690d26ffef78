"""Operators whose definition takes their place when a file is loaded."""

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import operators as table
from edgekiln.compiler.onnx_model import suppression
from edgekiln.compiler.onnx_model.definitions import expanded
from tests.compiler.onnx_model.same_numbers import (
    assert_same_numbers,
    by_reference,
    operators,
    parsed,
)

rng = np.random.default_rng(0)


def values(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def test_an_attention_is_products() -> None:
    model = parsed(
        "g (float[1, 2, 4, 8] q, float[1, 2, 6, 8] k, float[1, 2, 6, 8] v) "
        "=> (float[1, 2, 4, 8] y) { y = Attention (q, k, v) }",
        23,
    )
    feeds = {"q": values(1, 2, 4, 8), "k": values(1, 2, 6, 8), "v": values(1, 2, 6, 8)}
    after = assert_same_numbers(model, expanded, **feeds)
    assert operators(after).count("MatMul") == 2
    assert not after.functions
    assert [entry.domain for entry in after.opset_import] == [""]


@pytest.mark.parametrize("words", ["", "<axes = [0, 2]>"])
def test_defaults_of_an_operator_are_those_of_its_definition(words: str) -> None:
    model = parsed(
        "g (float[2, 3, 4, 5] x) => (float[2, 3, 4, 5] y) "
        f"{{ y = MeanVarianceNormalization {words} (x) }}",
        13,
    )
    x = values(2, 3, 4, 5)
    axes = (0, 2) if words else (0, 2, 3)
    after = expanded(model)
    onnx.checker.check_model(after, full_check=True)
    (found,) = by_reference(after, {"x": x})
    centred = x - x.mean(axes, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axes, keepdims=True))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_layer_norm_is_written_out_only_for_its_other_results() -> None:
    text = (
        "g (float[2, 4] x) => (float[2, 4] y OUTPUTS) "
        "{ y, mean, deviation = LayerNormalization (x, s) }"
    )
    one = parsed(text.replace("OUTPUTS", ""), 17, s=values(4))
    assert operators(expanded(one)) == ["LayerNormalization"]
    all_three = ", float[2, 1] mean, float[2, 1] deviation"
    three = parsed(text.replace("OUTPUTS", all_three), 17, s=values(4))
    after = assert_same_numbers(three, expanded, x=values(2, 4))
    assert "LayerNormalization" not in operators(after)


def test_a_loss_within_a_loss_is_written_out_too() -> None:
    model = parsed(
        "g (float[3, 5] x, int64[3] y) => (float loss) { loss = SoftmaxCrossEntropyLoss (x, y) }"
    )
    after = assert_same_numbers(model, expanded, x=values(3, 5), y=np.array([0, 4, 2]))
    roles = {table.find(name).role for name in operators(after)}  # type: ignore[union-attr]
    assert not roles & {"defined", "refused"}


def test_an_attribute_that_no_rule_reads_is_the_definitions_business() -> None:
    model = parsed(
        "g (float[1, 4, 8] x) => (int32[1, 4, 8] y) { y = CastLike <saturate = 0> (x, s) }",
        19,
        s=np.array(0, np.int32),
    )
    after = assert_same_numbers(model, expanded, x=values(1, 4, 8))
    assert "CastLike" not in operators(after)


def test_the_definition_is_that_of_the_models_version() -> None:
    """Until opset 21 a GroupNormalization scales groups, from then on channels."""
    text = (
        "g (float[1, 4, 3] x) => (float[1, 4, 3] y) "
        "{ y = GroupNormalization <num_groups = 2> (x, s, b) }"
    )
    for opset, count in ((18, 2), (21, 4)):
        constants = {"s": values(count), "b": values(count)}
        after = assert_same_numbers(parsed(text, opset, **constants), expanded, x=values(1, 4, 3))
        assert "GroupNormalization" not in operators(after)


def test_nodes_of_ours_stay_what_they_are() -> None:
    model = parsed(
        "g (float[1, 6, 4] b, float[1, 2, 6] s, float[2, 3, 4, 5] x) "
        "=> (int64[n, 3] kept, float[2, 3, 4, 5] y) { kept = NonMaxSuppression (b, s, most)\n"
        "y = MeanVarianceNormalization (x) }",
        most=np.array([3]),
    )
    suppression.fix(model, "m.onnx")
    after = expanded(model)
    assert "FixedSuppression" in operators(after)
    assert "MeanVarianceNormalization" not in operators(after)
    onnx.checker.check_model(after)
