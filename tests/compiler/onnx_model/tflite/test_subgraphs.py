"""Files of several graphs: branches, loops, first values of variables, signatures."""

from pathlib import Path

import numpy as np
import pytest

from edgekiln.benchmarks.tflite import litert
from edgekiln.benchmarks.tflite.operators import codes
from edgekiln.benchmarks.tflite.writer import TfliteWriter
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.onnx_model.tflite import subgraphs
from edgekiln.runtime.errors import InputError, UnsupportedError

SHAPE = (1, 4, 5, 3)


def notes_of(file: bytes, folder: Path) -> list[str]:
    path, notes = folder / "m.tflite", list[str]()
    path.write_bytes(file)
    io.load_model(path, notes)
    return notes


def assert_as_litert(file: bytes, folder: Path, *, equal: bool = True) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    (folder / "m.tflite").write_bytes(file)
    x = codes(np.random.default_rng(0), *SHAPE)
    model = io.load_model(folder / "m.tflite")
    found = Session(model, optimize=False)(x)
    expected = litert.outputs(file, [x])
    assert len(found) == len(expected) >= 1
    same = [np.array_equal(*pair) for pair in zip(found, expected, strict=True)]
    assert all(same) is equal


def scaled(w: TfliteWriter, by: float) -> tuple[int, int]:
    """A graph with one layer, from its operand to its result."""
    x, y = (w.tensor(SHAPE, scale=0.1, zero=3) for _ in range(2))
    w.op("ADD", [x, w.constant(np.array([[[[7]]]], np.int8), by, 0)], y, "Add")
    return x, y


def branching(condition: bool) -> bytes:
    w = TfliteWriter()
    x, y = (w.tensor(SHAPE, scale=0.1, zero=3) for _ in range(2))
    numbers = []
    for by in (0.1, 0.3):
        inner = w.inside()
        numbers.append(w.another(inner, *[[each] for each in scaled(inner, by)]))
    is_so = w.constant(np.array([condition]))
    w.op("IF", [is_so, x], y, "If", then_graph=numbers[0], else_graph=numbers[1])
    return w.file([x], [y])


@pytest.mark.parametrize("condition", [True, False])
def test_a_branch_with_a_constant_condition_is_the_one_that_litert_takes(
    tmp_path: Path, condition: bool
) -> None:
    assert_as_litert(branching(condition), tmp_path)


def test_the_branches_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(branching(True))
    x = codes(np.random.default_rng(0), *SHAPE)
    (found,) = Session(io.load_model(tmp_path / "m.tflite"), optimize=False)(x)
    (tmp_path / "m.tflite").write_bytes(branching(False))
    (other,) = Session(io.load_model(tmp_path / "m.tflite"), optimize=False)(x)
    assert (found != other).any()


def looping(turns: int, *, computed: bool = False) -> bytes:
    """An addition, `turns` times; `computed`: as many as an input says."""
    w = TfliteWriter()
    x, y = (w.tensor(SHAPE, scale=0.1, zero=3) for _ in range(2))
    count = w.tensor((1,), "int32") if computed else w.constant(np.array([0], np.int32))
    condition, body = w.inside(), w.inside()
    i, value = condition.tensor((1,), "int32"), condition.tensor(SHAPE, scale=0.1, zero=3)
    goes_on = condition.tensor((1,), "bool")
    condition.op("LESS", [i, condition.constant(np.array([turns], np.int32))], goes_on)
    j, next_j = (body.tensor((1,), "int32") for _ in range(2))
    into, out = scaled(body, 0.1)
    body.op("ADD", [j, body.constant(np.array([1], np.int32))], next_j, "Add")
    w.op(
        "WHILE", [count, x], [w.tensor((1,), "int32"), y], "While",
        condition_graph=w.another(condition, [i, value], [goes_on]),
        body_graph=w.another(body, [j, into], [next_j, out]),
    )  # fmt: skip
    return w.file([x, count] if computed else [x], [y])


@pytest.mark.parametrize("turns", [0, 1, 5])
def test_a_loop_with_a_constant_counter_is_written_out(tmp_path: Path, turns: int) -> None:
    assert_as_litert(looping(turns), tmp_path)
    (tmp_path / "m.tflite").write_bytes(looping(turns))
    model = io.load_model(tmp_path / "m.tflite")
    assert [node.op_type for node in model.graph.node].count("Add") == turns


@pytest.mark.parametrize(
    "file", [looping(3, computed=True), looping(subgraphs.MOST_TURNS + 1)], ids=["computed", "long"]
)
def test_a_loop_that_is_not_written_out_is_named(tmp_path: Path, file: bytes) -> None:
    (tmp_path / "m.tflite").write_bytes(file)
    with pytest.raises(UnsupportedError, match=r"WHILE .* its condition is not a constant"):
        io.load_model(tmp_path / "m.tflite")


def test_graphs_that_call_each_other_without_end_are_no_file(tmp_path: Path) -> None:
    w = TfliteWriter()
    x, y = (w.tensor(SHAPE, scale=0.1, zero=3) for _ in range(2))
    inner = w.inside()
    into, out = (inner.tensor(SHAPE, scale=0.1, zero=3) for _ in range(2))
    so = inner.constant(np.array([True]))
    inner.op("IF", [so, into], out, "If", then_graph=1, else_graph=1)
    w.op("IF", [w.constant(np.array([True])), x], y, "If", then_graph=1, else_graph=1)
    w.another(inner, [into], [out])
    (tmp_path / "m.tflite").write_bytes(w.file([x], [y]))
    with pytest.raises(InputError, match="call each other without end"):
        io.load_model(tmp_path / "m.tflite")


def streaming(first: np.ndarray, *, kept: bool = False) -> bytes:
    """A running sum that CALL_ONCE gives its first values; `kept`: nothing else is assigned."""
    w = TfliteWriter()
    x = w.tensor((1, 4), scale=0.1, zero=3)
    last, total = (w.tensor((1, 4), scale=0.1, zero=3) for _ in range(2))
    begin = w.inside()
    handles = [(each, each.tensor((), "resource")) for each in (w, begin)]
    number = w.another(begin, [], [])
    w.op("CALL_ONCE", [], [], "CallOnce", graph=number)
    for each, handle in handles:
        each.op("VAR_HANDLE", [], handle, "VarHandle", container="", shared_name="past")
    begin.op("ASSIGN_VARIABLE", [handles[1][1], begin.constant(first, 0.1, 3)], [])
    handle = handles[0][1]
    w.op("READ_VARIABLE", [handle], last)
    w.op("ADD", [x, last], total, "Add")
    if kept:
        return w.file([x], [total])
    # Another handle of the same variable.
    again = w.tensor((), "resource")
    w.op("VAR_HANDLE", [], again, "VarHandle", container="", shared_name="past")
    w.op("ASSIGN_VARIABLE", [again, total], [])
    return w.file([x], [total])


def test_what_call_once_assigns_is_what_a_variable_begins_with(tmp_path: Path) -> None:
    notes = notes_of(streaming(np.full((1, 4), 9, np.int8)), tmp_path)
    assert notes[1].endswith("begin with 4 values of 9")
    notes = notes_of(streaming(np.array([[1, 5, 3, 2]], np.int8)), tmp_path)
    assert notes[1].endswith("begin with the 4 values, 1 to 5, of the constant 't1'")


def test_a_stream_that_begins_so_is_litert_s(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    first = np.array([[1, 5, 3, 2]], np.int8)
    file = streaming(first)
    (tmp_path / "m.tflite").write_bytes(file)
    model = io.load_model(tmp_path / "m.tflite")
    session, state = Session(model, optimize=False), first
    assert [value.name for value in model.graph.output][1].endswith(".next")
    names = [value.name for value in model.graph.input]
    rng = np.random.default_rng(0)
    calls = [[codes(rng, 1, 4)] for _ in range(4)]
    found = []
    for (x,) in calls:
        y, state = session(dict(zip(names, (x, state), strict=True)))
        found.append(y)
    expected = [each for (each,) in litert.stream(file, calls)]
    np.testing.assert_array_equal(found, expected)


def test_a_variable_that_call_once_alone_assigns_is_a_constant(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    file = streaming(np.array([[1, 5, 3, 2]], np.int8), kept=True)
    assert notes_of(file, tmp_path) == ["it was read as ONNX, with TFLite's own arithmetic"]
    model = io.load_model(tmp_path / "m.tflite")
    assert [value.name for value in model.graph.input] == ["t0"]
    x = codes(np.random.default_rng(0), 1, 4)
    (found,), (expected,) = Session(model, optimize=False)(x), litert.outputs(file, [x])
    np.testing.assert_array_equal(found, expected)
    assert (found != x).any()


def test_a_branch_whose_codes_stand_for_other_numbers_than_its_caller_s_is_no_file(
    tmp_path: Path,
) -> None:
    w = TfliteWriter()
    x, y = (w.tensor(SHAPE, scale=0.1, zero=3) for _ in range(2))
    inner = w.inside()
    into, out = scaled(inner, 0.1)
    inner.tensors[into] = {**inner.tensors[inner.tensor(SHAPE, scale=0.2, zero=3)]}
    number = w.another(inner, [into], [out])
    is_so = w.constant(np.array([True]))
    w.op("IF", [is_so, x], y, "If", then_graph=number, else_graph=number)
    (tmp_path / "m.tflite").write_bytes(w.file([x], [y]))
    with pytest.raises(InputError, match="operands of other codes than what it calls"):
        io.load_model(tmp_path / "m.tflite")


def test_signatures_of_other_graphs_are_said_to_be_left_out(tmp_path: Path) -> None:
    w = TfliteWriter()
    x, y = scaled(w, 0.1)
    inner = w.inside()
    number = w.another(inner, *[[each] for each in scaled(inner, 0.3)])
    file = w.file([x], [y], {"encode": 0, "decode": number})
    assert notes_of(file, tmp_path)[1:] == [
        "the file's first graph is the model; its signature 'decode' is another one's"
    ]
    assert_as_litert(file, tmp_path)


def test_an_open_batch_is_what_the_file_has_so_far(tmp_path: Path) -> None:
    w = TfliteWriter()
    x, y = scaled(w, 0.1)
    for number in (x, y):
        w.tensors[number]["signature"] = [-1, *SHAPE[1:]]
    file = w.file([x], [y])
    assert_as_litert(file, tmp_path)
    model = io.load_model(tmp_path / "m.tflite")
    shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input]
    assert shapes == [list(SHAPE)]
