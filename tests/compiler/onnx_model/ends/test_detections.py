"""A detector's last step: boxes by ONNX Runtime, held against a computation box by box."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.ends.attach import attach
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.runtime.errors import ConfigError
from tests.compiler.onnx_model.ends import detectors
from tests.compiler.onnx_model.ends.detectors import (
    CLASSES,
    SIZE,
    Array,
    Seen,
    centered,
    found,
    network,
    on_grids,
)

PICTURE = np.zeros((1, 3, *SIZE), np.float32)
ANCHORS = [(5.0, 7.0), (9.0, 4.0), (12.0, 8.0), (20.0, 15.0)]
GRIDS = [(4, 4, 6), (8, 2, 3)]  # stride, rows, columns
ON_GRID = "&".join(["strides=4,8", "score=0.2"])
WITH_ANCHORS = ON_GRID + "&anchors=" + ",".join(f"{w:g}x{h:g}" for w, h in ANCHORS)


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def numbers(*shapes: tuple[int, ...]) -> list[Array]:
    return [rng().normal(0, 1, (1, *shape)).astype(np.float32) for shape in shapes]


def rows_of_boxes(count: int = 40) -> Array:
    """(1, count, 4 + classes): plain boxes that overlap here and there, scores from 0 to 1."""
    edges = rng().uniform(0, 16, (1, count, 4))
    scores = rng().uniform(0, 1, (1, count, CLASSES))
    return np.concatenate([edges, scores], axis=2).astype(np.float32)


def answers(model_path: Path, spec: str, outputs: Sequence[Array], **options: object) -> Array:
    """What a network with its last step finds, after it was saved and read again."""
    model = network(*(output.shape[1:] for output in outputs), **options)  # type: ignore[arg-type]
    notes = attach(model, (), (f"detections={spec}",))
    assert notes[-1].endswith("it gives detections, count")
    io.save_model(model, model_path)
    records, (count,), *_ = run(io.load_model(model_path), PICTURE, *outputs)
    assert (records[0, count:] == -1).all()
    assert (records[0, :count, 5] >= 0).all()
    return records[0, :count]


def run(model: onnx.ModelProto, *arrays: Array) -> Sequence[Array]:
    names = [value.name for value in model.graph.input]
    return Session(model, optimize=False)(dict(zip(names, arrays, strict=True)))


def clipped(rows: Sequence[tuple[float, ...]]) -> Array:
    array = np.array(rows).reshape(-1, 6)
    array[:, :4] = np.clip(array[:, :4], 0, [SIZE[1], SIZE[0], SIZE[1], SIZE[0]])
    return array


def check(records: Array, seen: Sequence[Seen], **limits: float) -> None:
    wanted = clipped(found(seen, **limits))  # type: ignore[arg-type]
    assert len(wanted) > 1
    np.testing.assert_allclose(records, wanted, atol=2e-4)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ("", {}),
        ("?score=0.7&iou=0.2", {"score": 0.7, "iou": 0.2}),
        ("?most=4", {"most": 4}),
        ("?per-class=2", {"per_class": 2}),
        ("?together=true&iou=0.1", {"together": True, "iou": 0.1}),
    ],
)
def test_boxes_and_scores_are_what_they_say(
    tmp_path: Path, turned: bool, options: str, limits: dict[str, float]
) -> None:
    rows = rows_of_boxes()
    seen = [Seen(each[:4].astype(float), each[4:]) for each in rows[0]]
    given = rows.transpose(0, 2, 1) if turned else rows
    check(answers(tmp_path / "m.onnx", f"corners{options}", [given]), seen, **limits)


@pytest.mark.parametrize("names", [("boxes", "scores"), ("scores", "boxes")])
def test_two_outputs_are_told_apart_by_their_shapes_and_names(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    rows = rows_of_boxes()
    seen = [Seen(centered(*each[:4]), each[4:]) for each in rows[0]]
    parts = {"boxes": rows[..., :4], "scores": rows[..., 4:].transpose(0, 2, 1)}
    outputs = [parts[name] for name in names]
    check(answers(tmp_path / "m.onnx", "centers", outputs, names=names), seen)


def test_shares_of_the_picture_become_pixels(tmp_path: Path) -> None:
    rows = rows_of_boxes()
    rows[..., :4] /= 16
    size = np.array([SIZE[1], SIZE[0], SIZE[1], SIZE[0]])
    seen = [Seen(each[:4] * size, each[4:]) for each in rows[0]]
    check(answers(tmp_path / "m.onnx", "corners?units=shares", [rows]), seen)


@pytest.mark.parametrize(
    ("form", "decode", "anchors", "has_object"),
    [
        ("distances", detectors.distances, [], False),
        ("yolox", detectors.yolox, [], True),
        ("yolov3", detectors.yolov3, ANCHORS, True),
        ("yolov5", detectors.yolov5, ANCHORS, True),
    ],
)
def test_numbers_on_grids_become_boxes(
    tmp_path: Path, form: str, decode: detectors.Decode, anchors: list[tuple[float, float]],
    has_object: bool,
) -> None:  # fmt: skip
    each = max(1, len(anchors) // 2)
    shapes = [(each * (4 + has_object + CLASSES), r, c) for _, r, c in GRIDS]
    outputs = numbers(*shapes)
    seen = on_grids(outputs, [4, 8], anchors, decode, has_object=has_object)
    options = WITH_ANCHORS if anchors else ON_GRID
    # The network may give the coarse grid first.
    for order in (outputs, outputs[::-1]):
        check(answers(tmp_path / "m.onnx", f"{form}?{options}", order), seen, score=0.2)


def test_numbers_on_grids_may_be_rows(tmp_path: Path) -> None:
    outputs = numbers(*((5 + CLASSES, r, c) for _, r, c in GRIDS))
    rows = [y.reshape(1, 5 + CLASSES, -1).transpose(0, 2, 1) for y in outputs]
    seen = on_grids(outputs, [4, 8], [], detectors.yolox, has_object=True)
    joined = np.concatenate(rows, axis=1)
    check(answers(tmp_path / "m.onnx", f"yolox?{ON_GRID}", [joined]), seen, score=0.2)


@pytest.mark.parametrize("named", [False, True])
def test_offsets_to_priors_become_boxes_and_nothing_is_no_class(
    tmp_path: Path, named: bool
) -> None:
    count = 30
    priors = rng().uniform(0.1, 0.9, (count, 4)).astype(np.float32)
    np.save(tmp_path / "priors.npy", priors)
    offsets, logits = numbers((count, 4), (count, CLASSES + 1))
    seen = []
    for prior, offset, each in zip(priors.astype(float), offsets[0], logits[0], strict=True):
        x, y = prior[:2] + 0.1 * offset[:2] * prior[2:]
        width, height = prior[2:] * np.exp(0.3 * offset[2:])
        scale = np.array([SIZE[1], SIZE[0], SIZE[1], SIZE[0]])
        seen.append(Seen(centered(x, y, width, height) * scale, detectors.softmax(each)[1:]))
    labels = ("nothing", *detectors.LABELS) if named else detectors.LABELS
    spec = f"ssd?priors={tmp_path}/priors.npy&variances=0.1,0.3"
    path = tmp_path / "m.onnx"
    check(answers(path, spec, [offsets, logits], labels=labels), seen)
    assert io.read_meta(io.load_model(path)).labels == detectors.LABELS


@pytest.mark.parametrize(
    ("before", "frame", "undo"),
    [
        (["pixels"], SIZE, lambda x, y: (x, y)),
        (["pixels=32x72", "resize"], (32, 72), lambda x, y: (x * 3, y * 2)),
        (["pixels=40x80", "crop=16x24"], (40, 80), lambda x, y: (x + 28, y + 12)),
        # 48 pixels in 24, 24 in 12, so 2 rows above and below.
        (["pixels=24x48", "letterbox"], (24, 48), lambda x, y: (x * 2, (y - 2) * 2)),
        (
            ["nv12=40x100", "crop=36x60", "letterbox"], (40, 100),
            lambda x, y: (x * 2.5 + 20, (y - 1) * 36 / 14 + 2),
        ),
    ],
)  # fmt: skip
def test_boxes_are_in_pixels_of_the_frame_that_comes_in(
    tmp_path: Path, before: list[str], frame: tuple[int, int],
    undo: Callable[[float, float], tuple[float, float]],
) -> None:  # fmt: skip
    rows = np.array([[[3, 4, 10, 11, 0.9, 0, 0], [0, 0, 24, 16, 0, 0.8, 0]]], np.float32)
    model = network((2, 4 + CLASSES))
    attach(model, before, ["detections=corners"])
    io.save_model(model, tmp_path / "m.onnx")
    loaded = io.load_model(tmp_path / "m.onnx")
    shape = [dim.dim_value for dim in loaded.graph.input[0].type.tensor_type.shape.dim]
    records, count, *_ = run(loaded, np.zeros(shape, np.uint8), rows)
    assert count.tolist() == [2]
    for record, row in zip(records[0], rows[0], strict=False):
        edges = (*undo(*row[:2]), *undo(*row[2:4]))
        high = (frame[1], frame[0]) * 2
        wanted = np.clip(edges, 0, high)
        np.testing.assert_allclose(record[:4], wanted, rtol=1e-5)


BOXES = (6, 4 + CLASSES)


@pytest.mark.parametrize(
    ("spec", "shapes", "message"),
    [
        ("box", [BOXES], "no boxes 'box'"),
        ("corners?skore=1", [BOXES], "no option 'skore'"),
        ("corners?score=high", [BOXES], "score=high does not fit"),
        ("corners?score=nan", [BOXES], "score=nan does not fit"),
        ("corners?score=1e39", [BOXES], "score=1e39 does not fit"),
        ("yolov5?strides=4&anchors=1e39x1", [BOXES], "anchors=1e39x1 does not fit"),
        ("yolov5?strides=4&anchors=1x1e-46", [BOXES], "anchors=1x1e-46 does not fit"),
        ("corners?iou=1.5", [BOXES], "iou=1.5 does not fit"),
        ("corners?most=0", [BOXES], "most=0 does not fit"),
        ("corners?units=feet", [BOXES], "units=feet does not fit"),
        ("corners?strides=8", [BOXES], "corners has no strides"),
        ("yolox", [BOXES], "yolox needs strides"),
        ("yolov5?strides=8", [BOXES], "yolov5 needs anchors"),
        ("yolov5?strides=4,8&anchors=1x2", [BOXES], "1 anchors for 2 grids"),
        ("yolov5?strides=4&anchors=1", [BOXES], "anchors=1 does not fit"),
        ("ssd", [BOXES], "ssd needs priors"),
        ("corners?background=1", [(6, 8)], "background=1 of 4 classes"),
        ("corners?object=true", [(10, 7)],
         "the network gives 2 scores, and the model has 3 classes"),
        ("corners", [(6, 3)], "a box has 3 numbers in all"),
        ("corners", [(7,)], "output 'y0' of shape [1, 7] holds no such boxes"),
        ("yolox?strides=4,8", [(31, 8)],
         "the network gives 31 boxes, the grids of these strides and anchors have 30"),
        ("yolox?strides=8", [(8, 3, 3)],
         ("of y0 [1, 8, 3, 3], mean [1, 3, 1, 1], 0 are a grid of 2×3 cells, as stride 8 has it")),
        ("yolov5?strides=8&anchors=1x2,3x4,5x6", [(8, 2, 3)],
         "output 'y0' of shape [1, 8, 2, 3] holds no such boxes"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(spec: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        attach(network(*shapes), (), [f"detections={spec}"])
    assert error.value.message == f"step detections={spec}: {message}"
    assert error.value.hint


def test_it_is_the_only_step() -> None:
    with pytest.raises(ConfigError, match="step detections=corners: stands with other steps"):
        attach(network(BOXES), (), ["sigmoid", "detections=corners"])
