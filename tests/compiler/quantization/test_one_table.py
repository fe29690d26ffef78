"""What the check of a QDQ model calls a float operation is what the program has as one: whether a
function is one table is asked in both, of ONNX's nodes and of the program's graph.
"""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.passes.pipeline import lowered
from edgekiln.compiler.quantization import qcheck
from edgekiln.targets import profile
from tests.compiler.qdq_models import QdqModel

ONE = ("Sigmoid", "Tanh", "Abs", "Relu", "HardSwish", "Floor", "Softplus")
TWO = ("Add", "Mul", "Sub", "Div", "Max", "Min")


def floats_of_both(model: QdqModel, path: Path, out: str) -> tuple[set[str], set[str]]:
    """What stays float, as the check and as the program say, by what it makes."""
    end = model.q(out)
    for node in model.nodes:
        node.name = node.output[0]
    model.save(path, end)
    said = {each.name for each in qcheck.inspect(io.load_model(path)).floats}
    _, stayed = lowered(path, profile.load("x86-64-v3"))
    return said, {each.name for each in stayed}


@pytest.mark.parametrize("channels", [8, 9])
@pytest.mark.parametrize("second", ["a", "b", "number", "channels"])
def test_a_table_is_a_function_of_one_value(tmp_path: Path, second: str, channels: int) -> None:
    m = QdqModel()
    operands = {
        "a": m.q(m.input("a", 1, channels, 5, 4)),
        "b": m.q(m.input("b", 1, channels, 5, 4)),
        "number": m.const([[2.0]], "float32"),
        "channels": m.const(m.rng.random((channels, 1, 1)), "float32"),
    }
    s = m.op("Sigmoid", operands["a"], out="s")
    said, stayed = floats_of_both(m, tmp_path / "m.onnx", m.op("Mul", s, operands[second], out="u"))
    one = second in ("a", "number") or (second == "channels" and channels == 8)
    assert said == stayed == (set() if one else {"s", "u"})


@st.composite
def written_functions(draw: st.DrawFn) -> tuple[QdqModel, str]:
    """Operators upon each other, of one value, of two, and of numbers; some are rounded."""
    m = QdqModel()
    values = [m.q(m.input("a", 1, 3, 5, 4)), m.q(m.input("b", 1, 3, 5, 4))][
        : draw(st.integers(1, 2))
    ]
    numbers = [m.const(value, "float32") for value in (0.5, [3.0], [[[2.0]], [[1.5]], [[0.5]]])]
    for i in range(draw(st.integers(1, 6))):
        x = draw(st.sampled_from(values[-2:]))
        if draw(st.booleans()):
            made = m.op(draw(st.sampled_from(ONE)), x, out=f"v{i}")
        else:
            pair = draw(st.permutations([x, draw(st.sampled_from([*values, *numbers]))]))
            made = m.op(draw(st.sampled_from(TWO)), *pair, out=f"v{i}")
        values.append(m.q(made) if draw(st.integers(0, 3)) == 0 else made)
    return m, made


@given(net=written_functions())
@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_the_check_and_the_program_agree(tmp_path: Path, net: tuple[QdqModel, str]) -> None:
    model, out = net
    # What nobody reads is no part of the program.
    needed, kept = {out}, []
    for node in reversed(model.nodes):
        if needed & {*node.output}:
            needed |= {*node.input}
            kept.append(node)
    model.nodes = kept[::-1]
    model.inputs = [value for value in model.inputs if value.name in needed]
    model.constants = [value for value in model.constants if value.name in needed]
    said, stayed = floats_of_both(model, tmp_path / "m.onnx", out)
    assert said == stayed
