"""Recurrent networks are their steps: as ONNX Runtime computes them."""

import numpy as np
import pytest

from edgekiln.compiler.onnx_model.equivalents import write_in_others
from edgekiln.compiler.onnx_model.recurrent import MOST_STEPS
from tests.compiler.onnx_model.same_numbers import (
    assert_same_numbers,
    by_onnxruntime,
    operators,
    parsed,
)

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, INPUT, WIDTH = 5, 2, 3, 4


def network(
    op: str, words: str, absent: tuple[str, ...] = (), directions: int = 1, length: int = STEPS
):
    rng = np.random.default_rng(1)
    gates = GATES[op]
    arrays = {
        "w": rng.normal(0, 0.5, (directions, gates * WIDTH, INPUT)),
        "r": rng.normal(0, 0.5, (directions, gates * WIDTH, WIDTH)),
        "b": rng.normal(0, 0.5, (directions, 2 * gates * WIDTH)),
        "h": rng.normal(0, 0.5, (directions, BATCH, WIDTH)),
    }
    names = ["x", "w", "r", "b", "", "h"]
    if op == "LSTM":
        arrays["c"] = rng.normal(0, 0.5, (directions, BATCH, WIDTH))
        arrays["p"] = rng.normal(0, 0.5, (directions, 3 * WIDTH))
        names += ["c", "p"]
    names = ["" if name in absent else name for name in names]
    while not names[-1]:
        names.pop()
    results = ["y", "y_h", *(["y_c"] if op == "LSTM" else [])]
    types = ["float[A, B, C, D] y", *(f"float[B, C, D] {name}" for name in results[1:])]
    return parsed(
        f"g (float[{length}, {BATCH}, {INPUT}] x) => ({', '.join(types)}) {{ {', '.join(results)} "
        f"= {op} <hidden_size = {WIDTH}{', ' if words else ''}{words}> ({', '.join(names)}) }}",
        **{name: value.astype(np.float32) for name, value in arrays.items() if name in names},
    )


def assert_is_its_steps(model) -> None:
    x = np.random.default_rng(2).normal(size=(STEPS, BATCH, INPUT)).astype(np.float32)
    after = assert_same_numbers(model, write_in_others, run=by_onnxruntime, x=x)
    assert not GATES.keys() & set(operators(after))


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("absent", [(), ("p",), ("b", "h", "c", "p")], ids=str)
def test_a_network_is_its_steps(op: str, direction: str, absent: tuple[str, ...]) -> None:
    directions = 2 if direction == "bidirectional" else 1
    assert_is_its_steps(network(op, f'direction = "{direction}"', absent, directions))


@pytest.mark.parametrize("op", GATES)
def test_sums_are_clipped_where_the_network_says_so(op: str) -> None:
    assert_is_its_steps(network(op, "clip = 0.4"))


def test_the_reset_of_a_gru_may_come_behind_the_product() -> None:
    assert_is_its_steps(network("GRU", "linear_before_reset = 1"))


@pytest.mark.parametrize(
    ("op", "functions"),
    [
        ("RNN", ["Relu"]),
        ("GRU", ["Tanh", "Relu"]),
        ("LSTM", ["Tanh", "Sigmoid", "Relu"]),
    ],
)
def test_each_gate_has_the_function_that_the_network_says(op: str, functions: list[str]) -> None:
    words = ", ".join(f'"{name}"' for name in functions)
    assert_is_its_steps(network(op, f"activations = [{words}]"))


@pytest.mark.parametrize(
    ("op", "words"),
    [
        ("RNN", 'activations = ["Affine"], activation_alpha = [2.0]'),
        ("LSTM", "input_forget = 1"),
    ],
)
def test_what_the_steps_do_not_know_stays(op: str, words: str) -> None:
    assert write_in_others(network(op, words)) == 0


def test_a_network_of_too_many_steps_stays() -> None:
    assert write_in_others(network("RNN", "", length=MOST_STEPS + 1)) == 0
