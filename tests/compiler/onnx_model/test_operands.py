"""Operators that ONNX Runtime, which every program is held against, computes in its own way."""

import numpy as np
import pytest

from edgekiln.compiler.onnx_model import io
from edgekiln.runtime.errors import InputError
from tests.compiler.float_models import make, write


@pytest.mark.parametrize("axes", ["", ", a"])
@pytest.mark.parametrize("op", ["ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceSumSquare"])
def test_a_reduction_over_no_axes_is_refused_where_onnxruntime_drops_its_function(
    tmp_path, op, axes
):
    body = f"y = {op} <noop_with_empty_axes = 1> (x{axes})"
    constants = {"a": np.array([], np.int64)} if axes else {}
    model = make(body, {}, x="1, 4", y="1, 4", constants=constants)
    path = write(model, tmp_path / "m.onnx")
    with pytest.raises(InputError) as caught:
        io.load_model(path)
    assert caught.value.message == (
        f"{path}: operator {op} ('y') has noop_with_empty_axes and no axes, where ONNX and ONNX "
        "Runtime differ"
    )


@pytest.mark.parametrize("op", ["ReduceL2", "ReduceSumSquare"])
def test_a_reduction_over_axes_is_none_over_no_axes(tmp_path, op):
    body = f"y = {op} <noop_with_empty_axes = 1> (x, a)"
    model = make(body, {}, x="1, 4", y="1, 1", constants={"a": np.array([1], np.int64)})
    assert io.load_model(write(model, tmp_path / "m.onnx")).graph.node[0].op_type == op
