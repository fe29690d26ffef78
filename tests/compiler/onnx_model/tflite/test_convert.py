"""TFLite files at the door: what comes in, under which names, and what is refused in words."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgekiln.benchmarks.tflite.network import network
from edgekiln.benchmarks.tflite.operators import CASES, TfliteCase, of_unsigned
from edgekiln.benchmarks.tflite.writer import TfliteWriter
from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.onnx_model.tflite.convert import OPERATORS
from edgekiln.compiler.onnx_model.tflite.functions import DOMAIN
from edgekiln.compiler.onnx_model.tflite.opcodes import NAMES
from edgekiln.compiler.passes.pipeline import lower_graph
from edgekiln.runtime.errors import InputError, UnsupportedError
from tests import source_tree


def read(case: TfliteCase, folder: Path) -> tuple[onnx.ModelProto, list[str]]:
    path, notes = folder / "model.tflite", list[str]()
    path.write_bytes(case.file)
    return io.load_model(path, notes), notes


def test_the_table_names_operators_of_tflite() -> None:
    assert set(OPERATORS) <= set(NAMES)
    assert NAMES[3] == "CONV_2D"
    assert NAMES[32] == "CUSTOM"


def test_the_page_has_the_table() -> None:
    page = (source_tree.ROOT / "docs/howto/tflite.md").read_text(encoding="utf-8")
    rows = [
        f"| {name} | {row.codes or '–'} | {'yes' if row.floats else '–'} |"
        for name, row in sorted(OPERATORS.items())
    ]
    assert "\n".join(rows) in page


def test_a_network_keeps_its_inputs_and_outputs(tmp_path: Path) -> None:
    model, notes = read(network(np.random.default_rng(0)), tmp_path)
    (x,), (y,) = model.graph.input, model.graph.output
    assert (x.name, y.name) == ("t0", "t18")
    assert [d.dim_value for d in x.type.tensor_type.shape.dim] == [1, 12, 10, 3]
    assert x.type.tensor_type.elem_type == y.type.tensor_type.elem_type == onnx.TensorProto.INT8
    assert notes == ["it was read as ONNX, with TFLite's own arithmetic"]


def test_a_row_of_convolutions_is_not_transposed_in_between(tmp_path: Path) -> None:
    model, _ = read(network(np.random.default_rng(0)), tmp_path)
    ops = [node.op_type for node in model.graph.node]
    assert ops.count("Transpose") == 2
    assert ops[:5] == ["DequantizeLinear", "Transpose", "QuantizeLinear", "Conv", "Conv"]


def test_reading_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    case = network(np.random.default_rng(0))
    first, second = (read(case, tmp_path)[0] for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )


def test_what_was_read_can_be_written_as_onnx_and_read_again(tmp_path: Path) -> None:
    case = network(np.random.default_rng(0))
    model, _ = read(case, tmp_path)
    io.save_model(model, tmp_path / "model.onnx")
    again = io.load_model(tmp_path / "model.onnx")
    results = [Session(each, optimize=False)(case.inputs[0])[0] for each in (model, again)]
    np.testing.assert_array_equal(*results)
    assert io.is_quantized(again)


@pytest.mark.parametrize("name", CASES)
def test_nothing_of_an_int8_model_stays_float(name: str, tmp_path: Path) -> None:
    model, _ = read(CASES[name](np.random.default_rng(0)), tmp_path)
    graph = import_onnx(tmp_path / "model.tflite", loaded=model)
    assert lower_graph(graph, "uint8") == []


def test_a_float_model_is_plain_onnx(tmp_path: Path) -> None:
    w, rng = TfliteWriter(), np.random.default_rng(0)
    x = w.tensor((1, 6, 5, 3), "float32")
    weights = rng.normal(0, 1, (4, 3, 3, 3)).astype(np.float32)
    y = w.tensor((1, 6, 5, 4), "float32")
    bias = rng.normal(0, 1, 4).astype(np.float32)
    w.op("CONV_2D", [x, w.constant(weights), w.constant(bias)], y, "Conv2D", stride_w=1,
         stride_h=1, activation=3)  # fmt: skip
    values = rng.normal(0, 1, (1, 6, 5, 3)).astype(np.float32)
    model, _ = read(TfliteCase(w.file([x], [y]), (values,)), tmp_path)
    assert not any(node.domain == DOMAIN for node in model.graph.node)
    (found,) = Session(model, optimize=False)(values)
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    expected = np.einsum("nhwcij,oijc->nhwo", windows, weights) + bias
    np.testing.assert_allclose(found, expected.clip(0, 6), atol=1e-4)


def test_half_weights_of_floats_are_floats(tmp_path: Path) -> None:
    w = TfliteWriter()
    x, y = w.tensor((2, 3), "float32"), w.tensor((2, 4), "float32")
    half = w.constant(np.arange(12, dtype=np.float16).reshape(4, 3))
    whole = w.tensor((4, 3), "float32")
    w.op("DEQUANTIZE", [half], whole)
    w.op("FULLY_CONNECTED", [x, whole], y, "FullyConnected")
    values = np.ones((2, 3), np.float32)
    model, _ = read(TfliteCase(w.file([x], [y]), (values,)), tmp_path)
    (found,) = Session(model, optimize=False)(values)
    np.testing.assert_array_equal(found, [[3, 12, 21, 30]] * 2)


def test_a_variable_is_an_input_and_an_output(tmp_path: Path) -> None:
    w = TfliteWriter()
    x = w.tensor((1, 4), scale=0.1, zero=3)
    handle = w.tensor((), "resource")
    last, total = (w.tensor((1, 4), scale=0.1, zero=3) for _ in range(2))
    w.op("VAR_HANDLE", [], handle)
    w.op("READ_VARIABLE", [handle], last)
    w.op("ADD", [x, last], total, "Add")
    w.op("ASSIGN_VARIABLE", [handle, total], [])
    case = TfliteCase(w.file([x], [total]), ())
    model, notes = read(case, tmp_path)
    assert [value.name for value in model.graph.input] == ["t0", "t1"]
    assert [value.name for value in model.graph.output] == ["t3", "t1.next"]
    assert notes[1] == (
        "variable 't1' is an input, the output 't1.next' its next value: begin with 4 values of 3"
    )


def simple(kind: str, dtype: str = "int8", **options: object) -> bytes:
    """One operator from a tensor to one of the same shape."""
    w = TfliteWriter()
    x, y = (w.tensor((1, 4, 4, 2), dtype, 0.1, 3) for _ in range(2))
    w.op(kind, [x], y, **options)  # type: ignore[arg-type]
    return w.file([x], [y])


def test_an_operator_that_nothing_computes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(simple("LSH_PROJECTION"))
    with pytest.raises(UnsupportedError) as caught:
        io.load_model(path)
    assert caught.value.message == (
        f"{path}: operator LSH_PROJECTION ('t1') is not supported: nothing computes it"
    )
    assert "docs/howto/tflite.md" in caught.value.hint


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (simple("EXP"), "operator EXP ('t1') is not supported: of int8 to int8"),
        (simple("RELU", "int16"), "operator RELU ('t1') is not supported: of int16 to int16"),
        (simple("AVERAGE_POOL_2D"), "windows (0, 0) on 4 axes"),
        (simple("CONV_2D"), "operands are missing"),
        (simple("PAD"), "its amounts are not known"),
    ],
)
def test_what_has_no_form_says_why(file: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(file)
    with pytest.raises(UnsupportedError) as caught:
        io.load_model(path)
    assert words in caught.value.message


def test_an_unsigned_file_s_inputs_and_outputs_stay_unsigned(tmp_path: Path) -> None:
    model, _ = read(of_unsigned(network, np.random.default_rng(0)), tmp_path)
    (x,), (y,) = model.graph.input, model.graph.output
    assert (x.name, y.name) == ("t0", "t18")
    assert x.type.tensor_type.elem_type == y.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    graph = import_onnx(tmp_path / "model.tflite", loaded=model)
    assert lower_graph(graph, "int8") == []


@pytest.mark.parametrize(
    ("op", "place", "value", "words"),
    [
        ("Conv", 2, np.zeros((1, 1, 1), np.int32), "numbers for 8 channels"),
        ("Conv", 4, np.full((8, 1, 1), 1 << 40), "its factors do not fit 32 bits"),
        ("Add", 4, np.full(4, 1 << 30), "its factors are no integers and shifts"),
        ("AveragePool", 3, np.full((2, 2), 5), "its counts are not those of its windows"),
        ("Lookup", 2, np.array(-127), "its table does not begin at the lowest code"),
        ("Softmax", 1, np.arange(300), "its powers are not 256 of 31 bits"),
    ],
)
def test_a_node_that_no_tflite_file_makes_is_refused(
    op: str, place: int, value: NDArray[np.generic], words: str, tmp_path: Path
) -> None:
    """Whoever writes such nodes by hand cannot make a kernel read what is not there."""
    model, _ = read(network(np.random.default_rng(0)), tmp_path)
    node = next(each for each in model.graph.node if each.op_type == op)
    name = node.input[place]
    weights = [each for each in model.graph.initializer if each.name != name]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*weights, onnx.numpy_helper.from_array(value, name)])
    graph = import_onnx(tmp_path / "model.tflite", loaded=model)
    with pytest.raises(UnsupportedError, match=words):
        lower_graph(graph, "uint8")


def test_a_sum_that_no_kernel_broadcasts_is_not_a_sum_of_codes(tmp_path: Path) -> None:
    model, _ = read(network(np.random.default_rng(0)), tmp_path)
    graph = import_onnx(tmp_path / "model.tflite", loaded=model)
    (node,) = (each for each in graph.nodes if each.op.kind == "Add")
    other = graph.tensors[node.inputs[0]]
    graph.put(replace(other, name="row", shape=(*other.shape[:2], 1, other.shape[3])))
    graph.inputs.append("row")
    broadcast = replace(node, inputs=("row", *node.inputs[1:]))
    graph.nodes = [broadcast if each is node else each for each in graph.nodes]
    with pytest.raises(UnsupportedError, match=r"tflite\.Add \(.*broadcasting .* has no integer"):
        lower_graph(graph, "uint8")


def test_a_reshape_to_another_shape_than_its_results_is_refused(tmp_path: Path) -> None:
    """LiteRT goes by what the operand asks for, so the shape in the file may not differ."""
    for told, good in (([1, 24], True), ([-1, 24], True), ([2, 12], False), ([1, 25], False)):
        w = TfliteWriter()
        x, y = w.tensor((1, 4, 6), scale=0.5), w.tensor((1, 24), scale=0.5)
        w.op("RESHAPE", [x, w.constant(np.array(told, np.int32))], y)
        path = tmp_path / "model.tflite"
        path.write_bytes(w.file([x], [y]))
        if good:
            assert io.load_model(path).graph.node
            continue
        with pytest.raises(UnsupportedError, match=r"asks for .*, its result is \(1, 24\)"):
            io.load_model(path)


@pytest.mark.parametrize("outputs", [[0], [1, 0], [1, 1], [1, 2], [3]])
def test_a_tensor_has_one_writer_and_a_writer_its_results(
    outputs: list[int], tmp_path: Path
) -> None:
    w = TfliteWriter()
    for _ in range(3):
        w.tensor((1, 4), scale=0.5)
    w.constant(np.zeros((1, 4), np.int8), 0.5)
    w.op("RELU", [0], outputs)
    path = tmp_path / "model.tflite"
    path.write_bytes(w.file([0], [1]))
    with pytest.raises(UnsupportedError, match=r"has a value before|2 results of it"):
        io.load_model(path)


def test_a_missing_file_and_an_empty_one_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        io.load_model(tmp_path / "none.tflite")
    (tmp_path / "empty.tflite").write_bytes(b"")
    with pytest.raises(InputError, match="not a TFLite file"):
        io.load_model(tmp_path / "empty.tflite")
