"""What ONNX Runtime, against which every program is held, does not take is refused at the door."""

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.compiler.onnx_model import extents, io
from edgekiln.compiler.onnx_model.validate import validated
from edgekiln.runtime.errors import EdgeKilnError, InputError, UnsupportedError
from tests.compiler.onnx_model.same_numbers import by_onnxruntime, parsed


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def pooled(**declared: str) -> onnx.ModelProto:
    """A pool to 6 × 11 pixels and what follows, with what the file declares of their shapes."""
    model = parsed(
        "m (float[1, 8, 12, 12] x, float[8, 1, 3, 3] k) => (float[1, 8, 6, 11] y) {\n"
        "p = MaxPool <kernel_shape = [2, 2], strides = [2, 1]> (x)\n"
        "c = Conv <group = 8, pads = [1, 1, 1, 1]> (p, k)\n"
        "h = HardSwish (c)\n y = Add (h, p)}",
        opset=20,
    )
    for name, text in declared.items():
        shape = [int(part) for part in text.split()]
        model.graph.value_info.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        )
    return model


def test_shapes_that_onnxruntime_cannot_put_together_are_refused() -> None:
    model = pooled(p="1 8 6 6", c="1 8 6 6", h="1 8 6 6")
    with pytest.raises(ort.capi.onnxruntime_pybind11_state.Fail):
        session(model)
    with pytest.raises(InputError) as error:
        validated(model, "m.onnx")
    assert error.value.message.startswith(
        "m.onnx: what is declared of 'p' contradicts its operators, and ONNX Runtime "
    )
    assert error.value.hint == "export it again, or leave what it says of results out of it"


def test_a_result_that_is_declared_without_a_type_is_refused() -> None:
    model = pooled(p="1 8 6 11")
    model.graph.value_info[0].type.tensor_type.elem_type = onnx.TensorProto.UNDEFINED
    with pytest.raises(ort.capi.onnxruntime_pybind11_state.InvalidArgument, match="data type 0"):
        session(model)
    with pytest.raises(InputError, match="what is declared of 'p' contradicts its operators"):
        validated(model, "m.onnx")


def test_a_result_of_which_the_name_alone_is_declared_is_taken() -> None:
    model = pooled()
    model.graph.value_info.append(onnx.ValueInfoProto(name="p"))
    session(model)
    assert len(validated(model, "m.onnx").graph.node) == 4


def test_shapes_of_another_batch_are_corrected(tmp_path: Path) -> None:
    model = pooled(p="7 8 6 11")
    session(model)
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    loaded = io.load_model(path)
    assert [extents.extents(v) for v in loaded.graph.value_info if v.name == "p"] in (
        [], [(1, 8, 6, 11)],
    )  # fmt: skip


def test_an_output_of_another_type_than_is_computed_is_refused() -> None:
    model = parsed("m (float[4] x) => (float[4] y, float[4] y) {y = Relu (x)}")
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    with pytest.raises(InputError, match="what is declared of 'y' contradicts its operators"):
        validated(model, "m.onnx")


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool"])
def test_a_pool_over_an_image_without_pixels_is_refused(op: str) -> None:
    model = parsed(f"m (float[2, 4] x) => (float[2, 4] y) {{y = {op} (x)}}")
    with pytest.raises(InputError, match="takes 3 axes or more, not 2"):
        validated(model, "m.onnx")


@pytest.mark.parametrize("automatic", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_padding_that_is_given_and_automatic_is_refused(automatic: str) -> None:
    model = parsed(
        "m (float[1, 4, 8, 8] x, float[4, 4, 3, 3] k) => (float[1, 4, h, w] y) {"
        f'y = Conv <auto_pad = "{automatic}", pads = [1, 1, 1, 1]> (x, k)}}',
        opset=20,
    )
    with pytest.raises(ort.capi.onnxruntime_pybind11_state.Fail, match="auto_pad"):
        session(model)
    with pytest.raises(InputError, match=f"has pads and an auto_pad, {automatic}"):
        validated(model, "m.onnx")


def test_an_operator_set_of_the_future_is_refused() -> None:
    newest = onnx.defs.onnx_opset_version()
    ours = parsed("m (float[4] x) => (float[4] y) {y = Relu (x)}", opset=newest)
    validated(ours, "m.onnx")
    ours.opset_import[0].version = newest + 1
    with pytest.raises(UnsupportedError) as error:
        validated(ours, "m.onnx")
    assert error.value.message == (
        f"m.onnx: is of operator set {newest + 1}, and the newest known is {newest}"
    )
    assert error.value.hint == f"export it with opset_version={newest} or lower"


@settings(max_examples=80, deadline=None)
@given(
    op=st.sampled_from(["Conv", "MaxPool", "AveragePool", "LpPool"]),
    automatic=st.sampled_from(["SAME_UPPER", "SAME_LOWER"]),
    taps=st.integers(1, 4),
    stride=st.integers(1, 6),
    extent=st.integers(1, 13),
)
def test_windows_that_cover_an_image_lie_where_onnxruntime_lays_them(
    op: str, automatic: str, taps: int, stride: int, extent: int
) -> None:
    """Automatic padding is either refused, or is that of the specification in ONNX Runtime, too."""
    count = math.ceil(extent / stride)
    total = max(0, (count - 1) * stride + taps - extent)
    begin = total // 2 if automatic == "SAME_UPPER" else total - total // 2
    weights = f", float[1, 1, 1, {taps}] w" if op == "Conv" else ""
    sizes = "" if weights else f"kernel_shape = [1, {taps}], "

    def model(padding: str) -> onnx.ModelProto:
        return parsed(
            f"m (float[1, 1, 1, {extent}] x{weights}) => (float[1, 1, 1, {count}] y) {{y = {op} "
            f"<{sizes}strides = [1, {stride}], {padding}> (x{', w' if weights else ''})}}",
            opset=20,
        )

    automatic_one = model(f'auto_pad = "{automatic}"')
    try:
        validated(automatic_one, "m.onnx")
    except EdgeKilnError as error:
        assert "ONNX does not say which; give it pads" in error.message  # noqa: PT017
        assert stride > taps
        return
    rng = np.random.default_rng(0)
    feeds = {"x": rng.normal(size=(1, 1, 1, extent)).astype(np.float32)}
    if weights:
        feeds["w"] = rng.normal(size=(1, 1, 1, taps)).astype(np.float32)
    (found,) = by_onnxruntime(automatic_one, feeds)
    (wanted,) = by_onnxruntime(model(f"pads = [0, {begin}, 0, {total - begin}]"), feeds)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
