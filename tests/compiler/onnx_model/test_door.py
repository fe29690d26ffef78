"""What comes in at the door: weights beside it, half floats, open sizes, constant control flow."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgekiln.compiler.onnx_model import door, extents, io, model_inputs
from edgekiln.runtime.errors import ConfigError, EdgeKilnError, InputError, UnsupportedError
from tests.compiler.float_models import make, residual, write

X = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)


def answers(model: onnx.ModelProto, **given: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, given)


def beside(path: Path, location: str = "m.bin") -> Path:
    onnx.save(residual(), path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def refused(path: Path, kind: type[EdgeKilnError] = InputError) -> EdgeKilnError:
    with pytest.raises(kind) as caught:
        io.load_model(path)
    return caught.value


def test_weights_beside_the_model_are_read(tmp_path):
    path = beside(tmp_path / "m.onnx")
    entered = door.enter(path)
    assert entered.notes == ("6 weights were read from a file beside it",)
    np.testing.assert_array_equal(answers(entered.model, x=X)[0], answers(residual(), x=X)[0])
    assert door.enter(write(residual(), tmp_path / "whole.onnx")).notes == ()


@pytest.mark.parametrize(
    "location", ["../m.bin", "/etc/passwd", "", "sub/../../m.bin", "link.bin", "x" * 500]
)
def test_no_file_is_read_that_lies_elsewhere(tmp_path, location):
    home = tmp_path / "home"
    home.mkdir()
    path = beside(home / "m.onnx")
    (home / "m.bin").rename(tmp_path / "m.bin")
    (home / "link.bin").symlink_to(tmp_path / "m.bin")
    model = onnx.load(path, load_external_data=False)
    for weight in model.graph.initializer:
        for entry in weight.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    message = refused(path).message
    assert message.startswith(f"{path}: weight 'w1' lies outside") or "too long" in message


def test_a_missing_or_cut_file_is_named(tmp_path):
    path = beside(tmp_path / "m.onnx")
    content = (tmp_path / "m.bin").read_bytes()
    (tmp_path / "m.bin").write_bytes(content[:100])
    assert refused(path).message == f"{path}: weight 'w1' reaches over the end of 'm.bin'"
    (tmp_path / "m.bin").unlink()
    assert refused(path).message == f"{tmp_path / 'm.bin'}: No such file or directory"


@pytest.mark.parametrize("value", ["-4", "1e3", "9" * 30, "x"])
def test_a_place_that_is_no_number_is_refused(tmp_path, value):
    path = beside(tmp_path / "m.onnx")
    model = onnx.load(path, load_external_data=False)
    entries = model.graph.initializer[0].external_data
    next(e for e in entries if e.key == "offset").value = value
    path.write_bytes(model.SerializeToString())
    assert "weight 'w1' lies at" in refused(path).message


def half_model(kind: int) -> onnx.ModelProto:
    """A residual network whose every number is half a float, with a cast inside."""
    model = residual(opset=22)  # the first whose Conv takes bfloat16
    for weight in model.graph.initializer:
        array = onnx.numpy_helper.to_array(weight)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
        weight.CopyFrom(onnx.numpy_helper.from_array(array.astype(dtype), weight.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = kind
    nodes = [onnx.helper.make_node("Cast", ["x"], ["cast"], name="cast", to=kind)]
    for node in model.graph.node:
        node.input[:] = ["cast" if name == "x" else name for name in node.input]
    nodes += model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@pytest.mark.parametrize("kind", [onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16])
def test_half_floats_are_computed_in_float32_and_that_is_said(tmp_path, kind):
    entered = door.enter(write(half_model(kind), tmp_path / "m.onnx"))
    assert entered.notes == ("its half floats (float16 or bfloat16) are computed in float32",)
    onnx.checker.check_model(entered.model, full_check=True)
    found, exact = answers(entered.model, x=X)[0], answers(residual(), x=X)[0]
    assert found.dtype == np.float32
    assert np.abs(found - exact).max() < 0.05 * np.abs(exact).max()


def test_a_named_extent_is_fixed_wherever_it_stands(tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 20]>
        model (float[N, S, 4] x, float[N, S, 4] z) => (float[N, S, 4] y) { y = Add (x, z) }"""
    model = onnx.parser.parse_model(text)
    entered = door.enter(write(model, tmp_path / "m.onnx"), ["S=7"])
    shapes = [extents.extents(v) for v in (*entered.model.graph.input, *entered.model.graph.output)]
    assert shapes == [("N", 7, 4)] * 3
    assert entered.notes == ("sizes fixed: S=7",)


def test_all_axes_of_an_input_are_fixed_at_once(tmp_path):
    path = write(residual(x="N, 3, H, W"), tmp_path / "m.onnx")
    model = door.enter(path, ["x=1x3x32x32"]).model
    assert extents.extents(model.graph.input[0]) == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("S=4", "--shape S=4: nothing is called 'S'"),
        ("H=0", "--shape H=0: is no size"),
        ("H", "--shape H: is no size"),
        ("H=" + "9" * 5000, f"--shape H={'9' * 5000}: is no size"),
        ("H=4x4", "--shape H=4x4: nothing is called 'H'"),
        ("x=1x4x32x32", "--shape x=1x4x32x32: input 'x' has the shape (N, 3, H, W)"),
        ("x=1x3x32", "--shape x=1x3x32: input 'x' has the shape (N, 3, H, W)"),
        ("H=9999999999", "--shape H=9999999999: larger than 268435456"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(tmp_path, shape, message):
    path = write(residual(x="N, 3, H, W"), tmp_path / "m.onnx")
    with pytest.raises(ConfigError) as caught:
        door.enter(path, [shape])
    assert caught.value.message == message


KEPT = {"k": np.array(2, np.float32)}


def with_branches(condition: str, constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    """y = x + k where the condition holds, else x − x · k, with a constant inside the branch."""
    model = make("y = Add (x, k)", {}, x="N, 4", y="N, 4", constants=KEPT | constants)
    parse = onnx.parser.parse_graph
    then = parse("t () => (float[N, 4] r) { r = Add (x, k) }")
    other = parse("e () => (float[N, 4] r) { s = Mul (x, k)\n r = Sub (x, s) }")
    del model.graph.node[:]
    model.graph.node.extend(parse(f"g () => () {{ {condition} }}").node)
    branch = onnx.helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)
    model.graph.node.append(branch)
    return model


@pytest.mark.parametrize("taken", [True, False])
def test_the_branch_of_a_constant_condition_is_all_that_stays(tmp_path, taken):
    model = with_branches("", {"c": np.array(taken)})
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    entered = door.enter(write(model, tmp_path / "m.onnx"))
    (note,) = entered.notes
    assert note == "1 If, Loop or Scan of constant course were replaced by what they run"
    assert "If" not in {node.op_type for node in entered.model.graph.node}
    np.testing.assert_array_equal(answers(entered.model, x=x)[0], x + 2 if taken else x - 2 * x)


def test_a_condition_that_is_computed_from_shapes_is_constant(tmp_path):
    condition = """
        n = Shape <start = 1> (x)
        four = Constant <value = int64[1] {4}> ()
        e = Equal (n, four)
        none = Constant <value = int64[0] {}> ()
        c = Reshape (e, none)
    """
    model = with_branches(condition, {})
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    entered = door.enter(write(model, tmp_path / "m.onnx"))
    assert "If" not in {node.op_type for node in entered.model.graph.node}
    np.testing.assert_array_equal(answers(entered.model, x=x)[0], x + 2)


def looped(rounds: np.ndarray, goes_on: str) -> onnx.ModelProto:
    """v := v · 2 + i, each v a row of the second result."""
    known = {"m": rounds, "on": np.array(True)}
    model = make("y = Relu (x)", {}, x="2, 4", y="2, 4", constants=known)
    body = onnx.parser.parse_graph(f"""
        b (int64 i, bool c, float[2, 4] v) => (bool d, float[2, 4] w, float[2, 4] row)
        <float two = {{2}}> {{
            f = Cast <to = 1> (i)
            a = Mul (v, two)
            w = Add (a, f)
            row = Identity (w)
            d = {goes_on}
        }}
    """)
    del model.graph.node[:]
    model.graph.node.append(
        onnx.helper.make_node("Loop", ["m", "on", "x"], ["y", "rows"], body=body)
    )
    model.graph.output.append(onnx.helper.make_tensor_value_info("rows", 1, [int(rounds), 2, 4]))
    return model


@pytest.mark.parametrize("goes_on", ["Identity (c)", "Constant <value = bool {1}> ()"])
def test_a_loop_of_constant_rounds_becomes_its_rounds(tmp_path, goes_on):
    model = looped(np.array(3, np.int64), goes_on)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    wanted = answers(model, x=x)
    entered = door.enter(write(model, tmp_path / "m.onnx"))
    assert "Loop" not in {node.op_type for node in entered.model.graph.node}
    for found, exact in zip(answers(entered.model, x=x), wanted, strict=True):
        np.testing.assert_array_equal(found, exact)


def test_a_loop_that_data_ends_stays(tmp_path):
    model = looped(np.array(3, np.int64), "Greater (f, two)")
    entered = door.enter(write(model, tmp_path / "m.onnx"))
    assert [node.op_type for node in entered.model.graph.node] == ["Loop"]


def test_a_loop_of_more_rounds_than_a_program_holds_stays(tmp_path):
    model = looped(np.array(10**6, np.int64), "Identity (c)")
    entered = door.enter(write(model, tmp_path / "m.onnx"))
    assert [node.op_type for node in entered.model.graph.node] == ["Loop"]


def test_open_sizes_are_refused_with_the_way_out():
    with pytest.raises(UnsupportedError) as caught:
        model_inputs.of_model(residual(x="N, 3, H, W"))
    assert (
        caught.value.message == "input 'x' has the shape (N, 3, H, W): only the batch may be open"
    )
    assert "--shape H=8" in caught.value.hint


@pytest.mark.parametrize("shape", ["x=1x3x24x40", "x=2x3x24x40"])
def test_extents_of_minus_one_and_of_one_name_for_all_are_open(tmp_path: Path, shape: str) -> None:
    """As PaddlePaddle's exporter writes them, in the results, too."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
        m (float[N, 3, H, W] x) => (float[N, 3, H, W] y) { y = Relu (x) }"""
    model = onnx.parser.parse_model(text)
    for value in (*model.graph.input, *model.graph.output):
        batch, _, height, width = value.type.tensor_type.shape.dim
        batch.dim_value = -1
        height.dim_param = width.dim_param = "?"
    path = tmp_path / "m.onnx"
    io.save_model(model, path)
    assert extents.extents(io.load_model(path).graph.input[0]) == ("?", 3, "?", "?")
    with pytest.raises(UnsupportedError, match="only the batch may be open") as caught:
        model_inputs.of_model(io.load_model(path))
    assert "--shape x=1x3x32x32," in caught.value.hint  # three channels are no guess
    entered = door.enter(path, [shape])
    wanted = tuple(map(int, shape.removeprefix("x=").split("x")))
    assert extents.extents(entered.model.graph.input[0]) == wanted
    assert model_inputs.of_model(entered.model).inputs[0].shape == wanted[1:]
