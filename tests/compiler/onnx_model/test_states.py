"""Which pairs of a model are its states."""

from pathlib import Path

import onnx
import pytest

from edgekiln.compiler.onnx_model import door, io, states
from edgekiln.runtime.errors import ConfigError
from tests.compiler import stateful


def pair(name: str, after: str, shape: str = "2, 1, 8", other: str = "2, 1, 8") -> onnx.ModelProto:
    text = (
        '<ir_version: 8, opset_import: ["" : 20]>\n'
        f"m (float[1, 8] x, float[{shape}] {name}) => (float[1, 8] y, float[{other}] {after}) "
        f"{{ y = Relu (x)\n {after} = Reshape ({name}, s) }}"
    )
    model = onnx.parser.parse_model(text)
    numbers = [int(each) for each in other.split(",")]
    model.graph.initializer.append(onnx.helper.make_tensor("s", 7, [len(numbers)], numbers))
    return model


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("h0", "hn"), ("h_0", "h_n"), ("state", "stateN"), ("state", "state_out"), ("h", "hn"),
        ("cache_in", "cache_out"), ("prev_frames", "next_frames"), ("in_state", "out_state"),
        ("past_key_values_0_key", "present_key_values_0_key"), ("hidden_old", "hidden_new"),
    ],
)  # fmt: skip
def test_names_say_what_is_remembered(name: str, after: str) -> None:
    if name.startswith("past_key"):
        name, after = "past_0_key", "present_0_key"
    assert states.find(pair(name, after)) == ((name, after),)


@pytest.mark.parametrize(
    ("name", "after"), [("mask", "scores"), ("mask", "maskn"), ("a", "b"), ("z_in", "q_out")]
)
def test_other_names_say_nothing(name: str, after: str) -> None:
    assert states.find(pair(name, after)) == ()


def test_another_shape_is_no_state() -> None:
    assert states.find(pair("h0", "hn", other="1, 2, 8")) == ()


def test_what_would_leave_no_input_is_no_state() -> None:
    model = pair("h0", "hn")
    model.graph.node.pop(0)
    model.graph.input.pop(0)
    model.graph.output.pop(0)
    assert states.find(model) == ()


def test_the_door_says_what_it_found_and_can_be_told_not_to_look(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    io.save_model(stateful.plain("lstm"), path)
    entered = door.enter(path)
    assert entered.notes == (
        "states: h0=hn, c0=cn (by their names; --no-state takes them as inputs and outputs)",
    )
    assert io.read_meta(entered.model).states == (("h0", "hn"), ("c0", "cn"))
    assert door.enter(path, find_states=False).notes == ()
    told = door.enter(path, pairs=["c0=cn"])
    assert told.notes == ("states: c0=cn (as told)",)
    io.save_model(told.model, path)
    assert door.enter(path).notes == ()  # the file says it itself
    assert door.enter(path, find_states=False).notes == (
        "it remembers nothing from one call to the next",
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["h0"], "--state h0: is no pair"),
        (["h=hn"], "--state h=hn: the model has no input 'h'"),
        (["h0=h"], "--state h0=h: the model has no output 'h'"),
        (["h0=hn", "h0=cn"], "--state h0=cn: 'h0' is given twice"),
        (["h0=y"], "--state h0=y: h0 is float (1, 1, 16), y is float (1, 3)"),
        (["h0=hn", "c0=hn"], "--state c0=hn: 'hn' is given twice"),
    ],
)
def test_a_wrong_pair_is_refused_by_name(tmp_path: Path, given: list[str], message: str) -> None:
    path = tmp_path / "m.onnx"
    io.save_model(stateful.plain("lstm"), path)
    with pytest.raises(ConfigError) as caught:
        door.enter(path, pairs=given)
    assert caught.value.message == message


def test_a_model_needs_more_than_states(tmp_path: Path) -> None:
    model = pair("h0", "hn")
    model.graph.output.pop(0)
    io.save_model(model, tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match="every output of the model is a state"):
        door.enter(tmp_path / "m.onnx", pairs=["h0=hn"])


RATE = """
<ir_version: 8, opset_import: ["" : 20]>
rate (float[1, 8] x, int64 sr) => (float[1, 8] y) {
    fast = Equal (sr, high)
    y = If (fast) <then_branch = a () => (float[1, 8] p) { p = Relu (x) },
                   else_branch = b () => (float[1, 8] q) { q = Sigmoid (x) }>
}
"""


def rate(path: Path) -> Path:
    model = onnx.parser.parse_model(RATE)
    model.graph.initializer.append(onnx.helper.make_tensor("high", 7, [], [16000]))
    io.save_model(model, path)
    return path


@pytest.mark.parametrize(("value", "kind"), [("16000", "Relu"), ("8000", "Sigmoid")])
def test_a_constant_input_decides_what_is_run(tmp_path: Path, value: str, kind: str) -> None:
    entered = door.enter(rate(tmp_path / "m.onnx"), constants=[f"sr={value}"])
    assert entered.notes == (f"inputs fixed: sr={value}",)
    kinds = {node.op_type for node in entered.model.graph.node}
    assert kind in kinds
    assert not kinds & {"If", "Equal"}
    assert [each.name for each in entered.model.graph.input] == ["x"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate=1", "--constant rate=1: the model has no input 'rate'"),
        ("sr", "--constant sr: the model has no input 'sr'"),
        ("sr=fast", "--constant sr=fast: these are no int64 values of shape ()"),
        ("sr=1,2", "--constant sr=1,2: these are no int64 values of shape ()"),
        ("sr=1.5", "--constant sr=1.5: int64 does not hold this value"),
    ],
)
def test_a_wrong_constant_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        door.enter(rate(tmp_path / "m.onnx"), constants=[text])
    assert caught.value.message == message


def test_the_only_input_is_no_constant(tmp_path: Path) -> None:
    entered = door.enter(rate(tmp_path / "m.onnx"), constants=["sr=8000"])
    io.save_model(entered.model, tmp_path / "one.onnx")
    with pytest.raises(ConfigError, match="the model has no other input"):
        door.enter(tmp_path / "one.onnx", constants=["x=1"])
