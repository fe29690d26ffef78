"""Moves beside layers in float: codes are made where somebody computes on them."""

import onnx
from onnx import helper

from edgekiln.compiler.quantization.idle_moves import without_idle_moves


def names(*nodes: onnx.NodeProto) -> list[str]:
    return [node.name for node in without_idle_moves(list(nodes))]


def node(op: str, given: str, made: str) -> onnx.NodeProto:
    return helper.make_node(op, [given], [made], name=f"{op.lower()}_{made}")


def test_moves_between_float_layers_stay_float() -> None:
    # The layers between x and a, and behind c, are float: they are not in the list.
    assert names(node("Flatten", "a", "b"), node("Transpose", "b", "c")) == []


def test_moves_on_the_way_to_or_from_an_integer_layer_become_integer() -> None:
    before = (node("MaxPool", "x", "a"), node("Transpose", "a", "b"))
    layer = node("Relu", "b", "c")
    behind = (node("Flatten", "c", "d"), node("Squeeze", "d", "e"))
    assert names(*before, layer, *behind) == [n.name for n in (*before, layer, *behind)]


def test_a_move_beside_that_way_stays_float() -> None:
    split = node("MaxPool", "x", "a")
    to_float = node("Flatten", "a", "f")
    layer = node("Relu", "a", "c")
    assert names(split, to_float, layer) == [split.name, layer.name]


def test_rows_of_a_table_are_taken_from_codes() -> None:
    """In floats it would be four times as large: most of what an encoder of words weighs."""
    rows = helper.make_node("Gather", ["table", "numbers"], ["a"], name="rows")
    split = node("Flatten", "a", "b")
    kept = without_idle_moves([rows, split], {"table"})
    assert [each.name for each in kept] == ["rows", split.name]
    assert without_idle_moves([rows, split]) == []
