"""What ONNX Runtime takes no more than we do, or takes for two things."""

import onnx
import pytest

from edgekiln.compiler.onnx_model import io
from tests.compiler.float_models import make, residual, write
from tests.compiler.onnx_model.test_validate import refused


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_an_operator_set_that_is_named_twice_is_one(tmp_path, domain):
    model = residual()
    model.opset_import.append(onnx.helper.make_opsetid(domain, model.opset_import[0].version))
    loaded = io.load_model(write(model, tmp_path / "m.onnx"))
    assert [entry.domain for entry in loaded.opset_import] == [""]
    model.opset_import[1].version = 13
    assert refused(model, tmp_path).message == (
        "names two versions of the operator set 'ai.onnx', 20 and 13"
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            'y = Conv <auto_pad = "SAME_UPPER", dilations = [2, 2]> (x, w)',
            "Conv ('y') has dilations and an auto_pad, SAME_UPPER, in place of pads",
        ),
        ("y = Clip <min = 2.0, max = -1.0> (x)", "Clip ('y') has a min of 2 and a max of -1"),
    ],
)
def test_what_onnx_runtime_never_takes_is_refused(tmp_path, body, reason):
    shape = "N, 3, 8, 8"
    model = make(body, {"w": (3, 3, 3, 3)}, x=shape, y=shape, opset=10)
    assert refused(model, tmp_path).message == f"operator {reason}"
