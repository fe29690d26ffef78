"""Control flow that does not depend on data is plain operators."""

import numpy as np
import pytest

from edgekiln.compiler.onnx_model import control_flow, folding
from tests.compiler.onnx_model.same_numbers import (
    assert_same_numbers,
    by_onnxruntime,
    operators,
    parsed,
)

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)

BRANCHES = """
g (float[3, 4] x) => (float[3, 4] y) {
    r = Relu (x)
    y = If (c) <
        then_branch = a () => (float[3, 4] t) { w = Constant <value = float {2.0}> () t = Mul (r, w) },
        else_branch = b () => (float[3, 4] t) { w = Constant <value = float {5.0}> () t = Add (x, w) }
    >
}
"""  # noqa: E501
SCAN = """
g (float[4] start, float[3, 4] x) => (float[4] last, float[N, M] sums) {
    last, sums = Scan <num_scan_inputs = 1, WORDS
        body = b (float[4] before, float[4] each) => (float[4] after, float[4] out) {
            after = Add (before, each)
            out = Mul (after, each)
        }
    > (start, x)
}
"""
LOOP = """
g (float[3, 4] x) => (float[3, 4] last, float[N, M, K] all) {
    last, all = Loop (trips, CONDITION) <
        body = b (int64 i, bool c, float[3, 4] before) => (bool d, float[3, 4] after, float[3, 4] out) {
            d = DECIDE
            f = Cast <to = 1> (i)
            after = Add (before, f)
            out = Mul (after, x)
        }
    >
}
"""  # noqa: E501


@pytest.mark.parametrize("condition", [True, False])
def test_the_branch_that_a_constant_chooses_takes_the_place_of_an_if(condition: bool) -> None:
    model = parsed(BRANCHES, c=np.array(condition))
    after = assert_same_numbers(model, folding.settle, x=X)
    assert operators(after) == ["Relu", "Mul" if condition else "Add", "Identity"]


def test_branches_of_two_ifs_may_use_the_same_names() -> None:
    text = BRANCHES.replace("y = If", "z = If").replace(
        "    >\n}",
        "    >\n    y = If (c) <\n        then_branch = a () => (float[3, 4] t) { t = Neg (z) },\n"
        "        else_branch = b () => (float[3, 4] t) { t = Abs (z) }\n    >\n}",
    )
    after = assert_same_numbers(parsed(text, c=np.array(True)), folding.settle, x=X)
    assert operators(after) == ["Relu", "Mul", "Identity", "Neg", "Identity"]


@pytest.mark.parametrize("opset", [11, 21])
@pytest.mark.parametrize(
    "words",
    [
        "",
        "scan_input_directions = [1],",
        "scan_output_directions = [1],",
        "scan_output_axes = [1],",
    ],
)
def test_a_scan_is_its_turns(words: str, opset: int) -> None:
    model = parsed(SCAN.replace("WORDS", words), opset)
    feeds = {"start": X[0], "x": X}
    after = assert_same_numbers(model, folding.settle, run=by_onnxruntime, **feeds)
    assert operators(after).count("Add") == 3
    assert "Scan" not in operators(after)


@pytest.mark.parametrize("opset", [11, 21])
@pytest.mark.parametrize("condition", ["", "on"])
@pytest.mark.parametrize("decide", ["Identity (c)", "Constant <value = bool {1}> ()"])
def test_a_loop_whose_end_is_known_is_its_turns(condition: str, decide: str, opset: int) -> None:
    text = LOOP.replace("CONDITION", condition or '""').replace("DECIDE", decide)
    text = text.replace('(trips, "")', "(trips, , x)").replace("(trips, on)", "(trips, on, x)")
    constants = {"trips": np.array(3)} | ({"on": np.array(True)} if condition else {})
    model = parsed(text, opset, **constants)
    after = assert_same_numbers(model, folding.settle, run=by_onnxruntime, x=X)
    assert operators(after).count("Mul") == 3
    assert "Loop" not in operators(after)


@pytest.mark.parametrize("given", ["trips", "on"])
def test_a_loop_that_data_ends_stays(given: str) -> None:
    text = LOOP.replace("CONDITION", "on, x").replace("DECIDE", "Identity (c)")
    kind = {"trips": "int64 trips", "on": "bool on"}[given]
    text = text.replace("g (float[3, 4] x)", f"g (float[3, 4] x, {kind})")
    constants = {"trips": np.array(3), "on": np.array(True)}
    del constants[given]
    assert "Loop" in operators(folding.settle(parsed(text, **constants)))


def test_a_loop_that_decides_in_its_body_stays() -> None:
    decide = "Less (i, two)"
    text = LOOP.replace("CONDITION", "on, x").replace("DECIDE", decide)
    constants = {"trips": np.array(3), "on": np.array(True), "two": np.array(2)}
    assert "Loop" in operators(folding.settle(parsed(text, **constants)))


def test_a_loop_of_too_many_turns_stays() -> None:
    text = LOOP.replace("CONDITION", "on, x").replace("DECIDE", "Identity (c)")
    constants = {"trips": np.array(control_flow.MOST_NODES), "on": np.array(True)}
    assert "Loop" in operators(folding.settle(parsed(text, **constants)))
