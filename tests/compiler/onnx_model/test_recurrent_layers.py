"""LSTM and GRU as a product and steps: as ONNX Runtime computes them, and written out again."""

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model.equivalents import write_in_others
from edgekiln.compiler.onnx_model.recurrent_functions import FLOAT, levels
from edgekiln.compiler.onnx_model.recurrent_layers import unroll, write_steps
from edgekiln.runtime.errors import UnsupportedError
from tests.compiler.onnx_model.same_numbers import (
    assert_same_numbers,
    by_onnxruntime,
    operators,
    parsed,
)
from tests.compiler.onnx_model.test_recurrent import BATCH, STEPS, network

X = np.random.default_rng(2).normal(size=(STEPS, BATCH, 3)).astype(np.float32)


def both(model: onnx.ModelProto) -> int:
    """As steps, which then are written out."""
    return write_steps(model) and unroll(model)


@pytest.mark.parametrize("rewritten", [write_steps, both], ids=["steps", "written out"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("absent", [("p",), ("b", "h", "c", "p")], ids=str)
@pytest.mark.parametrize(
    ("op", "words"), [("LSTM", ""), ("GRU", ""), ("GRU", "linear_before_reset = 1, ")]
)
def test_a_layer_is_a_product_and_steps(
    op: str, words: str, absent: tuple[str, ...], direction: str, rewritten: object
) -> None:
    ways = 2 if direction == "bidirectional" else 1
    model = network(op, f'{words}direction = "{direction}"', absent, ways)
    after = assert_same_numbers(model, rewritten, run=by_onnxruntime, x=X)
    kinds = operators(after)
    assert op not in kinds
    assert sum(kind in FLOAT for kind in kinds) == (ways if rewritten is write_steps else 0)


@pytest.mark.parametrize(
    ("op", "words", "absent"),
    [
        ("LSTM", "", ()),  # peepholes
        ("LSTM", "clip = 0.4", ("p",)),
        ("LSTM", "input_forget = 1", ("p",)),
        ("GRU", 'activations = ["Tanh", "Relu"]', ("p",)),
        ("RNN", "", ("p",)),
    ],
)
def test_what_has_no_such_form_stays(op: str, words: str, absent: tuple[str, ...]) -> None:
    assert write_steps(network(op, words, absent)) == 0


@pytest.mark.parametrize(("lengths", "count"), [([STEPS, STEPS], 1), ([STEPS, STEPS - 1], 0)])
def test_whole_sequences_alone_have_such_a_form(lengths: list[int], count: int) -> None:
    model = network("LSTM", "", ("p",))
    model.graph.node[0].input[4] = "lengths"
    array = np.array(lengths, np.int32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(array, "lengths"))
    assert write_steps(model) == count


def test_batches_may_come_first() -> None:
    """ONNX Runtime has no such layer, so it is held against one of the other layout."""
    plain = network("GRU", "linear_before_reset = 1", ("h", "p"))
    first = parsed(
        f"g (float[{BATCH}, {STEPS}, 3] x) => (float[A, B, C, D] y, float[A, B, C] y_h) "
        "{ y, y_h = GRU <hidden_size = 4, layout = 1, linear_before_reset = 1> (x, w, r, b) }",
        **{w.name: onnx.numpy_helper.to_array(w) for w in plain.graph.initializer},
    )
    assert write_steps(first) == 1
    y, last = by_onnxruntime(first, {"x": np.ascontiguousarray(X.transpose(1, 0, 2))})
    expected, expected_last = by_onnxruntime(plain, {"x": X})
    np.testing.assert_allclose(y, expected.transpose(2, 0, 1, 3), atol=1e-6)
    np.testing.assert_allclose(last, expected_last.transpose(1, 0, 2), atol=1e-6)


def test_steps_that_are_too_many_to_be_written_out_are_refused_by_name() -> None:
    model = network("GRU", "linear_before_reset = 1", ("p",), length=600)
    assert write_steps(model) == 1
    with pytest.raises(UnsupportedError) as caught:
        unroll(model)
    assert caught.value.message == (
        "operator GruSteps ('y.states') is float and has 600 steps, more than 512"
    )


def test_a_projected_state_is_refused_by_name() -> None:
    model = network("LSTM", "", ("h", "c", "p"))
    for weight in model.graph.initializer:
        if weight.name == "r":
            array = onnx.numpy_helper.to_array(weight)[..., :2].copy()
            weight.CopyFrom(onnx.numpy_helper.from_array(array, "r"))
    assert write_steps(model) == 0
    with pytest.raises(UnsupportedError, match=r"are not of 4 gates of 2 values"):
        write_in_others(model)


def test_the_table_is_symmetric_and_exact_in_the_middle() -> None:
    found = levels().astype(np.int64)
    assert (found + found[::-1] == 1 << 16).all()
    assert found[len(found) // 2] == 1 << 15
    assert 0 < np.diff(found).max() < 1 << 11  # what an entry of the kernel's table has room for
