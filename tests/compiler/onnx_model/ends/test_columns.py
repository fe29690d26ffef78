"""Columns before a network: what is attached, what it computes, and what is refused."""

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.ends.attach import attach
from edgekiln.compiler.onnx_model.ends.checks import check
from edgekiln.compiler.onnx_model.extents import extents
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.manifest import Preprocessing

INT64, INT32, FLOAT = TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT
Array = NDArray[Any]


def embedding(
    ages: int = 5,
    users: int = 50,
    kind: int = INT64,
    batch: int | str = 3,
    opset: int = 17,
    each: tuple[int, ...] = (),
) -> onnx.ModelProto:
    """A network of a table: a float, and two columns that are looked up."""
    draw = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(draw.normal(size=shape).astype(np.float32), name)

    def value(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    nodes = [
        helper.make_node("Gather", ["ages", "age"], ["age_rows"]),
        helper.make_node("Flatten", ["age_rows"], ["a"]),
        helper.make_node("Gather", ["users", "user"], ["user_rows"]),
        helper.make_node("Flatten", ["user_rows"], ["u"]),
        helper.make_node("Concat", ["x", "a", "u"], ["all"], axis=1),
        helper.make_node("MatMul", ["all", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "table",
        [value("x", FLOAT, batch, 2), value("age", kind, batch, 1),
         value("user", kind, batch, *each)],
        [value("y", FLOAT, batch, 4)],
        [weight("ages", ages, 3), weight("users", users, 3), weight("w", 8, 4)],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


BUCKETS, HASH = "buckets=age:0,18,35,60", "hash=user:50"
RAW: dict[str, Array] = {
    "x": np.array([[1, 2], [3, 4], [5, 6]], np.float32),
    "age": np.array([[17.5], [np.nan], [-1]], np.float32),
    "user": np.array([7, -(2**62), 2**40 + 1]),
}
# By numpy.searchsorted and sklearn.utils.murmurhash3_32 of the eight bytes, modulo 50.
MADE = {"x": RAW["x"], "age": np.array([[1], [4], [0]]), "user": np.array([17, 44, 16])}


@pytest.mark.parametrize("kind", [INT64, INT32])
@pytest.mark.parametrize("opset", [11, 17, 18])
def test_a_network_gets_the_indices_of_raw_columns(kind: int, opset: int) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    (right,) = Session(embedding(kind=kind), optimize=False)(
        {**MADE, "age": MADE["age"].astype(dtype), "user": MADE["user"].astype(dtype)}
    )
    model = embedding(kind=kind, opset=opset)
    (note,) = attach(model, (BUCKETS, HASH), ())
    assert note.endswith("it takes float32 age [1] of 5 indices, int64 user [] of 50 indices")
    onnx.checker.check_model(model)
    found = [(v.name, v.type.tensor_type.elem_type, extents(v)) for v in model.graph.input]
    assert found == [("x", FLOAT, (3, 2)), ("age", FLOAT, (3, 1)), ("user", INT64, (3,))]
    np.testing.assert_array_equal(Session(model, optimize=False)(RAW)[0], right)


def test_what_stands_beside_columns_stays_as_it_is() -> None:
    model = embedding()
    numbers = Preprocessing(scale=2.0, mean=(1.0,), std=(3.0,), layout="N*")
    io.write_meta(model, io.Meta(preprocessing=numbers))
    attach(model, (BUCKETS,), ())
    meta = io.read_meta(model)
    assert (meta.preprocessing, meta.before) == (numbers, (BUCKETS,))


@pytest.mark.parametrize(
    ("steps", "message", "hint"),
    [
        ("buckets=age:0,18,18", "edges 0,18,18 of 'age' do not ascend", "smallest first"),
        ("buckets=age:1,0", "edges 1,0 of 'age' do not ascend", "float32"),
        ("buckets=age:1,1.00000001", "do not ascend", "float32"),
        ("buckets=age:0,nan", "edges '0,nan' of 'age' do not fit", "finite"),
        ("buckets=age:0,1e39", "edges '0,1e39' of 'age' do not fit", "finite"),
        ("buckets=age:old", "edges 'old' of 'age' do not fit", "finite"),
        ("buckets=age", "'age' names no column", "buckets=age:0,18,35,60"),
        ("buckets=age:0;age:1", "column 'age' is given twice", "keep one"),
        ("hash=user:0", "'0' of 'user' is no number of indices", "from 1 to 2147483647"),
        ("hash=user:-5", "'-5' of 'user' is no number of indices", "from 1"),
        ("hash=user:4294967296", "no number of indices", "from 1"),
    ],
)
def test_what_is_no_rule_is_refused_before_there_is_a_model(
    steps: str, message: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check((steps,), ())
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("steps", "message", "hint"),
    [
        (("buckets=height:1",), "no input 'height'", "float32 x, int64 age, int64 user"),
        (("hash=x:5",), "input 'x' is float32 [3, 2]", "int32 or int64"),
        (("buckets=age:0,18,35,60,90",), "makes 6 indices of 'age', the network knows 5", "edges"),
        (("hash=user:51",), "makes 51 indices of 'user', the network knows 50", "trained with"),
        ((BUCKETS, "hash=age:3"), "input 'age' has a step already", "keep one"),
        ((BUCKETS, "resize"), "stands with columns", "no other steps"),
        (("pixels", BUCKETS), "is no first step", "one source"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(
    steps: tuple[str, ...], message: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        attach(embedding(), steps, ())
    assert message in caught.value.message
    assert hint in caught.value.hint


def looked_up(body: str, **weights: Array) -> onnx.ModelProto:
    text = f"""<ir_version: 8, opset_import: ["" : 17]> g (int64[3] age) => (float[3, n] y) {{
        {body}
    }}"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in weights.items()
    )
    return model


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("y = OneHot (age, rows, values)", {"values": np.array([0, 1], np.float32)}),
        ("t = Gather <axis = -1> (table, age) y = Transpose (t)", {}),
    ],
    ids=["OneHot", "columns"],
)
def test_an_index_that_nothing_knows_is_refused_wherever_it_is_looked_up(
    body: str, weights: dict[str, Array]
) -> None:
    def made(rows: int) -> onnx.ModelProto:
        table = np.zeros((30, rows), np.float32)
        known = weights or {"table": table}
        return looked_up(body, rows=np.array([rows]), **known)

    attach(made(5), (BUCKETS,), ())
    with pytest.raises(ConfigError, match="makes 5 indices of 'age', the network knows 4"):
        attach(made(4), (BUCKETS,), ())


def test_an_input_of_open_shape_is_refused() -> None:
    model = embedding()
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_param = "L"
    with pytest.raises(ConfigError, match="'age' has no fixed shape") as caught:
        attach(model, (BUCKETS,), ())
    assert "--shape age=" in caught.value.hint
