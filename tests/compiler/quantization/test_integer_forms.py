"""What is written in other operators to become integer does, and stays near the floats."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.ir.import_onnx import import_onnx
from edgekiln.compiler.onnx_model import io, operators
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.passes.gate import float_operators
from edgekiln.compiler.passes.qdq_to_integer import qdq_to_integer
from edgekiln.compiler.quantization import qcheck
from edgekiln.compiler.quantization.forms import table
from edgekiln.compiler.quantization.sqnr import Sqnr
from tests.compiler.float_models import make
from tests.compiler.integer_forms import FORMS, f32, model_of, prepared, quantized, samples


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_integer_and_near_the_floats(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    model = model_of(form)
    x = samples(form)
    in_codes = quantized(model, x)
    structure = qcheck.inspect(in_codes)
    assert tuple(sorted(op.op for op in structure.floats)) == form.floats, structure.floats
    assert structure.violations == ()
    io.save_model(in_codes, tmp_path / "m.onnx")
    graph = import_onnx(tmp_path / "m.onnx")
    qdq_to_integer(graph)
    assert sorted(op.op for op in float_operators(graph)) == sorted(form.floats)
    expected = Session(model, optimize=True)(x)[0]
    np.testing.assert_allclose(
        Session(prepared(model), optimize=False)(x)[0], expected, rtol=2e-4, atol=2e-5
    )
    sqnr = Sqnr()
    sqnr.add(expected, Session(in_codes, optimize=False)(x)[0])
    assert sqnr.db > form.least_db


def test_a_batch_norm_of_its_own_becomes_a_depthwise_convolution() -> None:
    model = make(
        "y = BatchNormalization <epsilon = 0.01> (x, g, b, m, v)",
        {"g": (3,), "b": (3,), "m": (3,)}, x="N, 3, 5, 7", y="N, 3, 5, 7",
        constants={"v": np.array([0.5, 1, 2], np.float32)},
    )  # fmt: skip
    x = f32(2, 3, 5, 7)
    before = Session(model, optimize=True)(x)[0]
    assert table.write(model) == 1
    onnx.checker.check_model(model, full_check=True)
    (conv,) = model.graph.node
    assert (conv.op_type, conv.name) == ("Conv", "y")
    assert len(model.graph.initializer) == 2
    np.testing.assert_allclose(Session(model, optimize=True)(x)[0], before, rtol=1e-5, atol=1e-6)


def test_a_batch_norm_behind_a_product_leaves_no_node_of_its_own() -> None:
    ready = prepared(model_of(FORMS["batch norm behind a product"]))
    assert [node.op_type for node in ready.graph.node].count("Gemm") == 1
    assert not {"BatchNormalization", "Conv"} & {node.op_type for node in ready.graph.node}


def test_what_nothing_is_known_of_stays() -> None:
    model = make(
        "y = BatchNormalization (x, g, b, m, v)", {"g": (3,), "b": (3,), "m": (3,)},
        x="N, 3, H, W", y="N, 3, H, W", constants={"v": np.ones(3, np.float32)},
    )  # fmt: skip
    assert table.write(model) == 0


def test_every_operator_that_is_rewritten_says_so_in_the_table() -> None:
    rows = {name: operators.find(name) for name in table.RULES}
    assert [name for name, row in rows.items() if row is None or not row.rewritten] == []
