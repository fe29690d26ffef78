"""Steps before and after a network: what they compute, by ONNX Runtime, and what is refused."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.ends.attach import attach
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.inputs import preprocess
from edgekiln.runtime.manifest import Preprocessing

NUMBERS = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def network(
    shape: tuple[int, ...], numbers: Preprocessing | None = NUMBERS, opset: int = 20
) -> onnx.ModelProto:
    """It gives what it takes, in float32, and scores: the sums of rows."""
    axes = numpy_helper.from_array(np.array([-1]), "axes")
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["x", "axes"], ["scores"], keepdims=0),
            helper.make_node("Identity", ["x"], ["image"]),
        ],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape[:-1]),
            helper.make_tensor_value_info("image", TensorProto.FLOAT, shape),
        ],
        [axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    io.write_meta(model, io.Meta(preprocessing=numbers, labels=("a", "b")))
    return model


def attached(model: onnx.ModelProto, tmp_path, *, before=(), after=()) -> onnx.ModelProto:
    """With its steps, saved and read again as a build does."""
    attach(model, before, after)
    io.save_model(model, tmp_path / "attached.onnx")
    return io.load_model(tmp_path / "attached.onnx")


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize(
    ("layout", "shape"), [("NCHW", (1, 3, 8, 6)), ("NHWC", (1, 8, 6, 3)), ("N*", (1, 144))]
)
def test_pixels_become_the_very_numbers_of_training(tmp_path, layout, shape, opset):
    numbers = replace(NUMBERS, layout=layout)
    model = attached(network(shape, numbers, opset), tmp_path, before=["pixels=8x6"])
    frame = pixels(1, 8, 6, 3)
    image = Session(model, optimize=False)(frame)[1]
    np.testing.assert_array_equal(image, preprocess(frame, numbers))


def test_a_frame_is_cropped_and_resized_as_pillow_does(tmp_path):
    numbers = replace(NUMBERS, scale=1.0, mean=(0.0,), std=(1.0,))
    steps = ["pixels=40x50", "crop=30x44", "resize"]
    model = attached(network((1, 3, 12, 16), numbers), tmp_path, before=steps)
    frame = pixels(1, 40, 50, 3)
    found = Session(model, optimize=False)(frame)[1][0].transpose(1, 2, 0)
    middle = Image.fromarray(frame[0, 5:35, 3:47])
    wanted = np.asarray(middle.resize((16, 12), Image.Resampling.BILINEAR)).astype(int)
    # Pillow rounds between the two axes, of which new versions sometimes take the other one first.
    assert np.abs(found - wanted).max() <= 1
    assert (found == wanted).mean() > 0.9


def test_a_letterbox_keeps_proportions_and_is_gray_around(tmp_path):
    numbers = replace(NUMBERS, scale=1.0, mean=(0.0,), std=(1.0,))
    steps = ["pixels=20x40", "letterbox"]
    model = attached(network((1, 3, 16, 16), numbers), tmp_path, before=steps)
    found = Session(model, optimize=False)(np.full((1, 20, 40, 3), 255, np.uint8))[1]
    wanted = np.full((1, 3, 16, 16), 114.0)
    wanted[:, :, 4:12] = 255
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("source", ["nv12", "yuyv"])
def test_gray_of_a_camera_is_its_brightness(tmp_path, source):
    numbers = Preprocessing(scale=1.0, mean=(0.0,), std=(1.0,), color="L")
    model = attached(network((1, 1, 4, 6), numbers), tmp_path, before=[f"{source}=4x6"])
    luma = pixels(4, 6)
    frame = pixels(1, 6, 6) if source == "nv12" else pixels(1, 4, 12)
    if source == "nv12":
        frame[0, :4] = luma
    else:
        frame[0, :, ::2] = luma
    found = Session(model, optimize=False)(frame)[1][0, 0]
    wanted = (np.maximum(luma.astype(float) - 16, 0) * 255 / 219).clip(0, 255)
    assert np.abs(found - wanted).max() < 0.8


def test_scores_become_probabilities_classes_and_decisions(tmp_path):
    scores = np.random.default_rng(1).normal(size=(1, 5, 1)).astype(np.float32)
    row = scores[0, :, 0]

    def answers(*after):
        model = attached(network((1, 5, 1)), tmp_path, after=after)
        names = [value.name for value in model.graph.output]
        return dict(zip(names, Session(model, optimize=False)(scores), strict=True))

    exp = np.exp(row - row.max())
    np.testing.assert_allclose(answers("softmax")["probabilities"][0], exp / exp.sum(), rtol=1e-6)
    assert answers("argmax")["classes"].tolist() == [row.argmax()]
    best = answers("softmax", "top-k=2")
    assert best["classes"].tolist() == [np.argsort(-row)[:2].tolist()]
    assert best["best"].shape == (1, 2)
    assert answers("threshold=0.1")["decisions"].tolist() == [(row >= 0.1).tolist()]
    assert list(answers("argmax")) == ["classes", "image"]  # other outputs stay


@pytest.mark.parametrize(
    ("shape", "layout", "labels", "axis"),
    [
        ((1, 3, 4, 6), "NCHW", (), 1),
        ((1, 4, 6, 3), "NHWC", (), 3),
        ((1, 4, 6, 2), "NCHW", ("a", "b"), 3),
        ((1, 2, 4, 6), "NHWC", ("a", "b"), 1),
        ((1, 2, 4, 2), "NHWC", ("a", "b"), 3),
    ],
)
@pytest.mark.parametrize("step", ["argmax", "softmax", "top-k=1"])
def test_pixels_are_judged_along_their_classes(tmp_path, step, shape, layout, labels, axis):
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["scores"])],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=8)
    numbers = replace(NUMBERS, layout=layout)
    io.write_meta(model, io.Meta(preprocessing=numbers, labels=labels))
    model = attached(model, tmp_path, after=[step])
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    found = Session(model, optimize=False)(x)[0]
    if step == "softmax":
        np.testing.assert_allclose(found.sum(axis=axis), 1, rtol=1e-5)
    else:
        np.testing.assert_array_equal(found.squeeze(axis) if step != "argmax" else found,
                                      x.argmin(axis))  # fmt: skip


def test_the_model_remembers_its_steps_and_takes_pictures(tmp_path):
    model = attached(network((1, 3, 8, 6)), tmp_path, before=["pixels"], after=["argmax"])
    meta = io.read_meta(model)
    assert (meta.before, meta.after, meta.labels) == (("pixels",), ("argmax",), ("a", "b"))
    assert meta.preprocessing == Preprocessing(scale=1.0, layout="NHWC", color="RGB")


@pytest.mark.parametrize(
    ("shape", "numbers", "before", "after", "message"),
    [
        ((1, 3, 8, 6), NUMBERS, ["pixel"], [], "before = pixel: no such step"),
        ((1, 3, 8, 6), NUMBERS, ["nv12"], [], "before = nv12: does not fit"),
        ((1, 3, 8, 6), NUMBERS, ["pixels=8"], [], "before = pixels=8: does not fit"),
        ((1, 3, 8, 6), NUMBERS, [f"crop={'9' * 5000}x4"], [],
            f"before = crop={'9' * 5000}x4: does not fit"),
        ((1, 5, 1), NUMBERS, [], [f"top-k={'9' * 5000}"],
            f"after = top-k={'9' * 5000}: does not fit"),
        ((1, 5, 1), NUMBERS, [], ["threshold=nan"], "after = threshold=nan: does not fit"),
        ((1, 5, 1), NUMBERS, [], ["threshold=1e39"], "after = threshold=1e39: does not fit"),
        ((1, 3, 8, 6), NUMBERS, ["resize=3"], [], "before = resize=3: takes nothing behind resize"),
        ((1, 3, 8, 6), NUMBERS, ["resize"], [], "step resize: is no source"),
        ((1, 3, 8, 6), NUMBERS, ["pixels", "nv12=4x4"], [], "step nv12=4x4: is no first step"),
        (
            (1, 3, 8, 6), NUMBERS, ["nv12=5x4"], [],
            "step nv12=5x4: these formats have pairs of pixels",
        ),
        (
            (1, 3, 8, 6), NUMBERS, ["pixels=9x9"], [],
            "step pixels=9x9: 9×9 pixels, the model takes 8×6",
        ),
        ((1, 3, 8, 6), NUMBERS, ["pixels=9x9", "crop=10x6"], [], "step crop=10x6: of 9×9 pixels"),
        (
            (1, 3, 8, 6), NUMBERS, ["pixels=9x9", "letterbox", "resize"], [],
            "step resize: stands behind letterbox",
        ),
        ((1, 3, 8, 6), NUMBERS, ["pixels=9x9", "letterbox=300"], [],
            "step letterbox=300: a pixel is 0 to 255"),
        (
            (1, 3, 8, 6), None, ["pixels"], [],
            "step pixels: the model does not say how a pixel becomes a number",
        ),
        ((1, 2, 8, 6), NUMBERS, ["pixels"], [],
            "step pixels: input 'x' of shape [2, 8, 6] is no image in RGB"),
        ((1, 5, 1), NUMBERS, [], ["argmax", "softmax"],
            "step softmax: stands behind argmax, which gives int64"),
        ((1, 5, 1), NUMBERS, [], ["top-k=6"], "step top-k=6: of 5 classes"),
        ((1, 5, 1), NUMBERS, [], ["top-k=2", "softmax"], "step top-k=2: is no last step"),
        ((1, 1), NUMBERS, [], ["argmax"], "after: output 'scores' is float32 [1]"),
    ],
)  # fmt: skip
def test_steps_that_do_not_fit_are_named(shape, numbers, before, after, message):
    with pytest.raises(ConfigError) as error:
        attach(network(shape, numbers), before, after)
    assert error.value.message == message
    assert error.value.hint


def test_a_model_gets_its_steps_once(tmp_path):
    model = attached(network((1, 5, 1)), tmp_path, after=["argmax"])
    with pytest.raises(ConfigError, match="has its steps already"):
        attach(model, [], ["softmax"])
