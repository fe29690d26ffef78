"""The door: a damaged or oversized model ends in one clear error, whatever is wrong with it."""

import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.onnx_model import extents, io, sizes
from edgekiln.runtime.errors import EdgeKilnError, InputError
from tests.compiler.float_models import make, residual, write

SLOW_S = 20.0  # a mutated model of a few KiB, on a busy machine


def refused(model: onnx.ModelProto, tmp_path: Path) -> EdgeKilnError:
    with pytest.raises(EdgeKilnError) as caught:
        io.load_model(write(model, tmp_path / "m.onnx"))
    caught.value.message = caught.value.message.removeprefix(f"{tmp_path / 'm.onnx'}: ")
    return caught.value


def test_an_extent_of_two_to_the_31_is_refused_at_once(tmp_path):
    model = residual()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2**31
    began = time.monotonic()
    error = refused(model, tmp_path)
    assert time.monotonic() - began < SLOW_S
    assert error.message == "tensor 'x' has 2147483648 × 32 × 32 elements, more than 268435456"
    assert error.hint == "the limit is EDGEKILN_MAX_ELEMENTS, which can be set higher"
    assert error.exit_code == 4


def test_a_window_of_two_to_the_31_is_refused_at_once(tmp_path):
    body = "y = MaxPool <kernel_shape = [2147483648, 2], pads = [2147483647, 0, 0, 0]> (x)"
    text = f'<ir_version: 8, opset_import: ["" : 20]> m (float[1, 3, 8, 8] x) => (y) {{{body}}}'
    model = onnx.parser.parse_model(text)
    error = refused(model, tmp_path)
    assert error.message == "kernel_shape of MaxPool ('y') is larger than 268435456"


def test_a_result_larger_than_the_limit_is_refused(tmp_path, monkeypatch):
    model = make("y = Resize (x, , s)", {}, x="1, 1, 8, 8", y="1, 1, 8000, 8000",
                 constants={"s": np.array([1, 1, 1000, 1000], np.float32)})  # fmt: skip
    monkeypatch.setenv(sizes.LIMIT, "1000000")
    assert refused(model, tmp_path).message == (
        "tensor 'y' has 1 × 1 × 8000 × 8000 elements, more than 1000000"
    )
    monkeypatch.setenv(sizes.LIMIT, "100000000")
    assert io.load_model(write(model, tmp_path / "m.onnx")).graph.node
    monkeypatch.setenv(sizes.LIMIT, "many")
    assert (
        refused(model, tmp_path).message
        == "EDGEKILN_MAX_ELEMENTS = 'many' is not a number of elements"
    )


def test_weights_listed_as_inputs_are_weights(tmp_path):
    model = residual(opset=9)
    model.ir_version = 3
    for weight in model.graph.initializer:
        model.graph.input.append(
            onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
        )
    loaded = io.load_model(write(model, tmp_path / "m.onnx"))
    assert [value.name for value in loaded.graph.input] == ["x"]
    onnx.checker.check_model(loaded, full_check=True)


def test_operator_sets_that_no_node_uses_are_left_out(tmp_path):
    model = residual()
    model.opset_import.append(onnx.helper.make_opsetid("com.ms.internal.nhwc", 12))
    loaded = io.load_model(write(model, tmp_path / "m.onnx"))
    assert [entry.domain for entry in loaded.opset_import] == [""]


def test_functions_of_the_models_own_are_inlined(tmp_path):
    text = """
        <ir_version: 8, opset_import: ["" : 20, "own" : 1]>
        model (float[N, 4] x) => (float[N, 4] y) { y = own.Twice (x) }
        <domain: "own", opset_import: ["" : 20]>
        Twice (a) => (b) { c = Relu (a)  b = Add (c, c) }
    """
    loaded = io.load_model(write(onnx.parser.parse_model(text), tmp_path / "m.onnx"))
    assert [node.op_type for node in loaded.graph.node] == ["Relu", "Add"]
    assert not loaded.functions


def test_names_that_are_no_text_are_refused(tmp_path):
    whole = make("hhhh = Relu (x)\n y = Relu (hhhh)", {}, x="N, 4", y="N, 4")
    path = tmp_path / "m.onnx"
    path.write_bytes(whole.SerializeToString().replace(b"hhhh", b"\xff\xfehh"))
    with pytest.raises(InputError) as caught:
        io.load_model(path)
    assert caught.value.message == f"{path}: not an ONNX file, or cut short"


def test_a_mask_may_hold_infinity_and_weights_may_not(tmp_path):
    mask = np.where(np.tri(4), 0, -np.inf).astype(np.float32)
    body = "m = MatMul (x, w)\n a = Add (m, mask)\n y = Softmax (a)"
    model = make(body, {"w": (4, 4)}, x="N, 4, 4", y="N, 4, 4", constants={"mask": mask})
    assert io.load_model(write(model, tmp_path / "m.onnx")).graph.node
    model.graph.node[0].input[1], model.graph.node[1].input[1] = "mask", "w"
    error = refused(model, tmp_path)
    assert error.message == "weight 'mask' holds NaN or infinity"
    assert error.hint == "the training that made it diverged; export an earlier checkpoint"


def test_an_output_that_nobody_makes_is_refused(tmp_path):
    model = residual()
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("nothing", onnx.TensorProto.FLOAT, [1])
    )
    assert refused(model, tmp_path).message == (
        "not a valid ONNX model: Graph output 'nothing' is not an output of any node in graph."
    )


def test_an_input_that_is_no_tensor_is_refused(tmp_path):
    model = make("y = Relu (x)", {}, x="N, 4", y="N, 4")
    model.graph.input.append(
        onnx.helper.make_tensor_sequence_value_info("s", onnx.TensorProto.FLOAT, None)
    )
    assert refused(model, tmp_path).message == "input 's' is no tensor"


def test_an_attribute_unknown_to_the_operator_is_refused(tmp_path):
    model = residual()
    model.graph.node[1].attribute.append(onnx.helper.make_attribute("speed", 3))
    error = refused(model, tmp_path)
    assert error.message.startswith("not a valid ONNX model: ")
    assert "speed" in error.message


def test_shapes_that_contradict_each_other_are_refused(tmp_path):
    model = make("m = MatMul (x, w)\n y = Relu (m)", {"w": (4, 4)}, x="N, 4", y="N, 4")
    model.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.ones((5, 4), np.float32), "w")
    )
    assert refused(model, tmp_path).message.startswith("shapes or types do not fit: ")


@pytest.mark.parametrize(
    ("weight", "shape", "reason"),
    [
        ("w1", (8, 5, 3, 3), "Conv ('a') has weights for 5 channels and reads 3"),
        ("w1", (8, 3, 5, 3), "Conv ('a') has a kernel_shape of [3, 3] and weights of [5, 3]"),
        ("b1", (7,), "Conv ('a') has a bias of shape (7,) for 8"),
        ("b3", (3,), "Gemm ('y') has a bias of shape (3,) for 10"),
    ],
)
def test_operands_that_do_not_fit_are_refused(tmp_path, weight, shape, reason):
    model = residual()
    for known in model.graph.initializer:
        if known.name == weight:
            known.CopyFrom(onnx.numpy_helper.from_array(np.ones(shape, np.float32), weight))
    assert refused(model, tmp_path).message == f"operator {reason}"


@pytest.mark.parametrize(
    ("scale", "zero", "reason"),
    [
        ((4,), (4,), "has a scale of shape (4,) for 6"),
        ((6,), (), "has a scale of shape (6,) and a zero point of shape ()"),
        ((6,), (1,), "has a scale of shape (6,) and a zero point of shape (1,)"),
    ],
)
def test_scales_that_do_not_fit_are_refused(tmp_path, scale, zero, reason):
    constants = {"s": np.ones(scale, np.float32), "z": np.zeros(zero, np.int8)}
    body = "q = QuantizeLinear (x, s, z)\n y = DequantizeLinear (q, s, z)"
    text = (
        f'<ir_version: 8, opset_import: ["" : 20]> m (float[N, 6] x) => (float[N, 6] y) {{{body}}}'
    )
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in constants.items()
    )
    assert refused(model, tmp_path).message == f"operator QuantizeLinear ('q') {reason}"


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ("y = Clip (x, k)", (4,)),
        ("y = Clip (x, , k)", (1, 1)),
        ("y = Pad (x, p, k)", (2,)),
    ],
)
def test_what_must_be_one_number_is_one(tmp_path, body, shape):
    constants = {"k": np.ones(shape, np.float32)}
    constants |= {"p": np.array([0, 0, 0, 0])} if "Pad" in body else {}
    model = make(body, {}, x="1, 4", y="1, 4", constants=constants)
    error = refused(model, tmp_path)
    assert error.message.endswith(f"takes one number for 'k', whose shape is {shape}")


@pytest.mark.parametrize(
    ("axis", "reason"),
    [(2, "has axis 2 of 2"), (-3, "Unexpected axis"), (2**32 - 1, "is larger than")],
)
def test_an_axis_that_a_tensor_has_not_is_refused(tmp_path, axis, reason):
    constants = {"k": np.ones(4, np.float32)}
    model = make("y = LayerNormalization (x, k)", {}, x="1, 4", y="1, 4", constants=constants)
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("axis", axis))
    assert reason in refused(model, tmp_path).message


def test_an_operation_on_nothing_is_refused(tmp_path):
    model = make("s = Slice (x, a, a)\n y = Relu (s)", {}, x="N, 4", y="N, 0",
                 constants={"a": np.array([1, 1])})  # fmt: skip
    model.graph.node[0].input[1:] = ["a", "a"]
    assert refused(model, tmp_path).message == "tensor 's' has no elements"


def test_an_input_without_elements_is_refused(tmp_path):
    """Not compiled as if its size of 0 were an open batch."""
    text = "m (float[0, 3] x) => (float[1, 3] y) {y = ReduceSum (x, a)}"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "a"))
    assert refused(model, tmp_path).message == "input 'x' has no elements"


def test_a_constant_without_elements_is_refused_among_data_alone(tmp_path):
    nothing = {"z": np.zeros((3, 0), np.float32)}
    model = make("y = Concat <axis = 1> (x, z)", {}, x="3, 4", y="3, 4", constants=nothing)
    assert refused(model, tmp_path).message == "tensor 'z' has no elements"
    left_out = {"roi": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 2], np.float32)}
    model = make("y = Resize (x, roi, s)", {}, x="1, 1, 4, 4", y="1, 1, 8, 8", constants=left_out)
    assert io.load_model(write(model, tmp_path / "m.onnx")).graph.node


@pytest.mark.parametrize("source", ["s = Mul (a, a)", "s = Identity (b)"])
@pytest.mark.parametrize(
    "body",
    [
        "v = ConstantOfShape (s)",
        "v = Expand (one, s)",
        "v = Tile (one, s)",
        "n = Squeeze (s)\n r = Range (zero, n, step)\n v = Cast <to = 1> (r)",
    ],
)
def test_a_vector_that_grows_beyond_the_limit_is_refused_at_once(tmp_path, body, source):
    """ONNX's shape inference would keep an object for each of its elements, and folding all."""
    text = f"m (float[1] x) => (float[k] y) {{{source}\n {body}\n y = Add (x, v)}}"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    numbers = {
        "a": np.array([20_000]), "b": np.array([400_000_000]), "one": np.ones(1, np.float32),
        "zero": np.array(0), "step": np.array(1),
    }  # fmt: skip
    for name, value in numbers.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    path = write(model, tmp_path / "m.onnx")
    began = time.monotonic()
    with pytest.raises(EdgeKilnError, match="has 400000000 elements, more than 268435456") as error:
        import_onnx(path)
    assert time.monotonic() - began < SLOW_S
    assert error.value.hint == "the limit is EDGEKILN_MAX_ELEMENTS, which can be set higher"


def test_a_wrong_shape_of_a_result_is_corrected(tmp_path):
    """Of a file whose output was declared for another batch."""
    model = residual(x="2, 3, 32, 32", y="2, 10")
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 7
    loaded = io.load_model(write(model, tmp_path / "m.onnx"))
    assert extents.extents(loaded.graph.output[0]) == (2, 10)
    onnx.checker.check_model(loaded, full_check=True)


def test_an_input_of_no_type_is_refused(tmp_path):
    model = residual()
    model.graph.input[0].type.tensor_type.elem_type = 29
    assert refused(model, tmp_path).message == "input 'x' is of no type that ONNX knows"


def test_a_device_is_not_read_as_a_model():
    with pytest.raises(InputError, match=r"^/dev/zero: cannot be read: is not a regular file$"):
        io.load_model(Path("/dev/zero"))


def test_a_file_without_outputs_is_refused(tmp_path):
    model = residual()
    del model.graph.output[:]
    assert refused(model, tmp_path).message == "an ONNX file without any output"


def test_a_reshape_to_another_number_of_elements_is_refused(tmp_path):
    model = make("y = Reshape (x, s)", {}, x="1, 4", y="2, 3", constants={"s": np.array([2, 3])})
    assert refused(model, tmp_path).message == "operator Reshape ('y') makes (2, 3) of (1, 4)"


def test_an_operand_of_a_type_that_the_operator_does_not_take_is_refused(tmp_path):
    model = make("y = Softmax (x)", {}, x="1, 4", y="1, 4")
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT8E8M0
    message = refused(model, tmp_path).message
    assert message.startswith("shapes or types do not fit: ")
    assert "tensor(float8e8m0)" in message
