"""Pools and transposed convolutions: as many windows as ONNX Runtime computes."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgekiln.compiler.onnx_model import shape_inference
from edgekiln.compiler.onnx_model.validate import validated
from tests.compiler.onnx_model.same_numbers import parsed

SMALL = st.tuples(st.integers(1, 4), st.integers(1, 4))


def computed(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})


@settings(max_examples=60, deadline=None)
@given(
    op=st.sampled_from(["MaxPool", "AveragePool", "LpPool"]),
    opset=st.sampled_from([10, 13, 17, 22]),
    kernel=SMALL,
    strides=SMALL,
    pads=st.tuples(*[st.integers(0, 3)] * 4),
    extents=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    include=st.booleans(),
)
def test_a_pool_has_the_windows_that_onnxruntime_computes(
    op: str,
    opset: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    extents: tuple[int, int],
    include: bool,
) -> None:
    top, left, bottom, end = (pad % size for pad, size in zip(pads, kernel * 2, strict=True))
    pads = (top, left, bottom, end)
    reaches = (extents[i] + pads[i] + pads[2 + i] - kernel[i] for i in (0, 1))
    assume(all(reach >= 0 for reach in reaches))
    assume(op != "LpPool" or opset >= 18)  # it has a ceil_mode since then
    more = {"count_include_pad": int(include)} if op == "AveragePool" else {}
    pool = onnx.helper.make_node(
        op, ["x"], ["y"], kernel_shape=kernel, strides=strides, pads=pads, ceil_mode=1, **more
    )
    graph = onnx.helper.make_graph(
        [pool],
        "pool",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 2, *extents))],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, list("nchw"))],
    )
    opsets = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    settled = validated(onnx.ModelProto.FromString(model.SerializeToString()), "m.onnx")
    x = np.random.default_rng(0).normal(size=(1, 2, *extents)).astype(np.float32)
    (right,), (ours,) = computed(model, x), computed(settled, x)
    (inferred,) = shape_inference.inferred(settled).graph.output
    assert [d.dim_value for d in inferred.type.tensor_type.shape.dim] == list(right.shape)
    if op == "LpPool":  # ONNX Runtime's own is off where a window reaches beyond the padding
        assert ours.shape == right.shape
    else:
        np.testing.assert_allclose(ours, right, rtol=1e-6, atol=1e-6)


def test_a_power_sum_knows_no_padding_that_is_not_zero() -> None:
    text = (
        '<ir_version: 8, opset_import: ["" : 18]> m (float[1, 1, 4, 4] x) => (float[N, C, H, W] y) '
        "{y = LpPool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1, p = 2> (x)}"
    )
    settled = validated(onnx.parser.parse_model(text), "m.onnx")
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    (ours,) = computed(settled, x)
    wide = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (0, 1), (0, 1)))
    right = [
        [np.sqrt(np.square(wide[0, 0, i : i + 3, j : j + 3]).sum()) for j in (0, 2)] for i in (0, 2)
    ]
    np.testing.assert_allclose(ours[0, 0], right, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "more"),
    [([10, 8], ""), ([9, 7], ""), ([8, 6], ""), ([10, 8], ", output_padding = [1, 1]")],
    ids=str,
)
@pytest.mark.parametrize("pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
def test_the_extents_of_a_transposed_convolution_say_its_padding(
    shape: list[int], more: str, pad: str
) -> None:
    rng = np.random.default_rng(0)
    model = parsed(
        "g (float[1, 2, 3, 3] x) => (float[1, 2, N, M] y) "
        f'{{ y = ConvTranspose <auto_pad = "{pad}", output_shape = {shape}, '
        f"strides = [3, 2]{more}> (x, w) }}",
        w=rng.normal(size=(2, 2, 3, 3)).astype(np.float32),
    )
    x = rng.normal(size=(1, 2, 3, 3)).astype(np.float32)
    (right,) = computed(model, x)
    settled = validated(onnx.ModelProto.FromString(model.SerializeToString()), "m.onnx")
    if "output_shape" in {a.name for a in settled.graph.node[0].attribute}:
        # More padding of the output than a value at the end: it is refused by name.
        assert (shape, pad) == ([10, 8], "SAME_UPPER")
        return
    (ours,) = computed(settled, x)
    np.testing.assert_allclose(ours, right, rtol=1e-5, atol=1e-6)
    assert right.shape[2:] == tuple(shape)


@pytest.mark.parametrize("more", ["", ", output_padding = [1, 1]"])
@pytest.mark.parametrize("pad", ["SAME_UPPER", "SAME_LOWER"])
def test_an_automatic_padding_gives_the_image_times_the_strides(pad: str, more: str) -> None:
    rng = np.random.default_rng(0)
    model = parsed(
        "g (float[1, 2, 4, 3] x) => (float[1, 2, N, M] y) "
        f'{{ y = ConvTranspose <auto_pad = "{pad}", strides = [3, 2]{more}> (x, w) }}',
        w=rng.normal(size=(2, 2, 5, 3)).astype(np.float32),
    )
    x = rng.normal(size=(1, 2, 4, 3)).astype(np.float32)
    (right,) = computed(model, x)
    (ours,) = computed(validated(model, "m.onnx"), x)
    np.testing.assert_allclose(ours, right, rtol=1e-5, atol=1e-6)
