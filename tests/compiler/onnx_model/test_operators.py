"""The operator table against what it speaks of: ONNX, the rules of the passes, TVM's importer."""

import ast
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import control_flow, joined, operator_docs, operators
from edgekiln.compiler.onnx_model.dynamic_forms import MICROSOFT
from edgekiln.compiler.onnx_model.equivalents import WRITTEN_IN_OTHERS
from edgekiln.compiler.onnx_model.operator_row import FALLBACK
from edgekiln.compiler.passes.function_steps import STEPS
from edgekiln.compiler.passes.rules.table import RULES
from edgekiln.runtime.errors import UnsupportedError
from tests.compiler.float_models import make

ROWS = {row.name: row for row in operators.rows() if not row.domain}
# Done where constants and activations are told apart, not by a rule of their own.
_AT_THE_EDGES = {"QuantizeLinear", "DequantizeLinear"}


def test_every_operator_of_onnx_has_one_row():
    schemas = {s.name for s in onnx.defs.get_all_schemas() if s.domain == ""}
    assert set(ROWS) == schemas


def test_an_operator_that_its_definition_stands_for_has_one_or_a_rewrite():
    rows = [row for row in operators.rows() if row.role == "defined"]
    theirs = {row.name for row in rows if row.domain == MICROSOFT}
    assert theirs == joined.FORMS.keys()
    rows = [row for row in rows if row.domain != MICROSOFT]
    schemas: list[Any] = [onnx.defs.get_schema(row.name, domain=row.domain) for row in rows]
    # The last one becomes functions of ours at the door.
    written = {*WRITTEN_IN_OTHERS, *control_flow.OPERATORS, "NonMaxSuppression"}
    defined = {s.name for s in schemas if s.has_function or s.has_context_dependent_function}
    assert {row.name for row in rows} - written - defined == set()


def test_every_rule_is_of_an_operator_and_every_form_is_a_rule():
    integers = {row.integer for row in operators.rows()} - {"", "lookup"}
    floats = {row.float_form for row in operators.rows()} - {"", "function", FALLBACK}
    at_the_edges = {ROWS[name].integer for name in _AT_THE_EDGES}
    assert (integers - at_the_edges) | floats == set(RULES)


def test_what_is_a_lookup_table_is_marked_as_one():
    assert {name for name, row in ROWS.items() if row.integer == "lookup"} <= {
        name for name, row in ROWS.items() if row.lookup
    }


def test_functions_of_floats_are_those_that_have_steps():
    functions = {name for name, row in ROWS.items() if row.float_form == "function"}
    # These are functions beside a number, and have a kernel of their own beside a tensor.
    assert functions | {"Add", "Max", "Min", "Mul", "PRelu"} == set(STEPS)


def test_fallbacks_are_what_tvm_imports():
    from tvm.relax.frontend.onnx import onnx_frontend

    known = set(onnx_frontend._get_convert_map())
    assert {name for name, row in ROWS.items() if row.float_form == FALLBACK} <= known


def test_a_fallbacks_attributes_are_read_by_tvm():
    from tvm.relax.frontend.onnx import onnx_frontend

    converters = onnx_frontend._get_convert_map()
    tree = ast.parse(inspect.getsource(onnx_frontend))
    parts = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)}
    rows = [row for row in ROWS.values() if row.float_form == FALLBACK and row.role == "float"]
    assert rows
    unread = {
        (row.name, attribute)
        for row in rows
        for attribute in {*row.attributes} - _mentioned(converters[row.name].__name__, parts)
        if row.name not in WRITTEN_IN_OTHERS  # where they count
    }
    assert unread == set()


def _mentioned(name: str, parts: dict[str, ast.ClassDef | ast.FunctionDef]) -> set[str]:
    """Text constants in a converter, its bases and whatever of the importer it uses."""
    seen: set[str] = set()
    texts: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in parts:
            continue
        seen.add(name)
        for node in ast.walk(parts[name]):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
            elif isinstance(node, ast.Name):
                waiting.append(node.id)
    return texts


def test_products_are_heavy_and_moves_are_not():
    assert all(
        operators.heavy(name) for name in ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM")
    )
    assert not any(operators.heavy(name) for name in ("Reshape", "Relu", "Concat"))


def test_what_is_quantized_has_an_integer_form():
    quantized = [row for row in ROWS.values() if row.role in ("quantized", "pass-through")]
    assert {row.name for row in quantized if not row.integer} == set()
    assert all(operators.quantizable(row.name) for row in quantized)
    assert not operators.quantizable("ConvTranspose")


def test_every_attribute_of_the_table_is_one_of_onnx():
    known = {
        (schema.name, attribute)
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.domain == ""
        for attribute in schema.attributes
    }
    listed = {(row.name, attribute) for row in ROWS.values() for attribute in row.attributes}
    assert listed - known == set()
    bounded = {(row.name, attribute) for row in ROWS.values() for attribute in row.values}
    assert bounded - listed == set()


def test_the_page_is_printed_from_the_table():
    root = Path(__file__).parents[3]
    assert (root / "docs" / "operators.md").read_text(encoding="utf-8") == operator_docs.page()
    assert "(docs/operators.md)" in (root / "README.md").read_text(encoding="utf-8")


def node(op: str, **attributes) -> onnx.NodeProto:
    return onnx.helper.make_node(op, ["x"], ["y"], name="y", **attributes)


@pytest.mark.parametrize(
    ("given", "opset", "unread"),
    [
        (node("Resize", antialias=0, mode="linear"), 18, []),
        (node("Resize", keep_aspect_ratio_policy="stretch"), 18, []),
        (node("BatchNormalization", training_mode=1, epsilon=0.1), 15, ["training_mode"]),
        (node("RoiAlign", mode="max"), 16, ["mode"]),
        (node("ConvTranspose", output_shape=[5, 5]), 11, ["output_shape"]),
        (node("MaxPool", kernel_shape=[2, 2], storage_order=1), 12, ["storage_order"]),
        (node("Add", axis=1, broadcast=1), 6, ["axis", "broadcast"]),
        (node("Conv", kernel_shape=[3, 3], group=2, auto_pad="SAME_LOWER"), 11, []),
    ],
)
def test_an_attribute_that_no_rule_reads_is_found(given, opset, unread):
    assert sorted(operators.unread_attributes(given, opset)) == unread


def test_an_attribute_that_no_rule_reads_is_refused_by_name():
    model = make(
        "y = MaxPool <kernel_shape = [2, 2], storage_order = 1> (x)", {}, x="1, 3, 8, 8",
        y="1, 3, 7, 7",
    )  # fmt: skip
    with pytest.raises(UnsupportedError) as caught:
        operators.check(model, "m.onnx")
    assert caught.value.message == (
        "m.onnx: operator MaxPool ('y'): its attribute storage_order = 1 is not supported"
    )
    assert caught.value.hint == "export the model without it, at the attribute's default"


def test_an_operator_without_a_kernel_is_refused_by_name():
    body = "a = Relu (x)\n y = Det (a)"
    with pytest.raises(UnsupportedError) as caught:
        operators.check(make(body, {}, x="1, 4, 4", y="1"))
    assert caught.value.message == "operator Det ('y') is not supported: it has no kernel"


def test_what_nothing_took_the_place_of_is_refused_with_its_limits():
    body = 'y = GRU <hidden_size = 2, activations = ["Affine", "Tanh"]> (x, w, r)'
    weights: dict[str, tuple[int, ...]] = {"w": (1, 6, 4), "r": (1, 6, 2)}
    with pytest.raises(UnsupportedError) as caught:
        operators.check(make(body, weights, x="3, 1, 4", y="3, 1, 1, 2"))
    assert caught.value.message == (
        "operator GRU ('y') is not supported: whole sequences and a fixed batch, with Sigmoid, "
        "Tanh and Relu; in float up to 512 steps"
    )


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("input_forget", "1"), ("activation_alpha", "[1.0, 2.0, 3.0]")],
)
def test_what_no_recurrent_layer_here_does_is_refused_by_its_name(
    attribute: str, value: str
) -> None:
    body = f"y = LSTM <hidden_size = 2, {attribute} = {value}> (x, w, r)"
    weights: dict[str, tuple[int, ...]] = {"w": (1, 8, 4), "r": (1, 8, 2)}
    with pytest.raises(UnsupportedError) as caught:
        operators.check(make(body, weights, x="3, 1, 4", y="3, 1, 1, 2"))
    given = int(value) if value == "1" else [1.0, 2.0, 3.0]
    assert caught.value.message == (
        f"operator LSTM ('y'): its attribute {attribute} = {given!r} is not supported"
    )


def test_a_dropout_that_trains_is_refused():
    body = "y = Dropout (x, ratio, training)"
    constants = {"ratio": np.float32(0.5), "training": np.bool_(False)}
    operators.check(make(body, {}, x="1, 4", y="1, 4", constants=constants))
    constants["training"] = np.bool_(True)
    with pytest.raises(UnsupportedError) as caught:
        operators.check(make(body, {}, x="1, 4", y="1, 4", constants=constants))
    assert caught.value.message == (
        "operator Dropout ('y'): its operand 2 ('training') is not supported"
    )


def test_the_channels_of_weights_lie_where_the_table_says():
    assert operators.channel_axis(node("Conv")) == 0
    assert operators.channel_axis(node("Gemm")) == 1
    assert operators.channel_axis(node("Gemm", transB=1)) == 0
    assert operators.channel_axis(node("Relu")) is None
