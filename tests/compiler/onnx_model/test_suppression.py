"""NonMaxSuppression in a user's file: rows of a fixed number, and what may read them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.door import enter
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.runtime.errors import UnsupportedError
from tests.compiler.lowering.programs import ours, parsed, reference

Array = NDArray[Any]
LIMITS = {
    "most": np.array([3]), "overlap": np.array([0.4], np.float32),
    "least": np.array([0.3], np.float32), "zero": np.array([0]), "one": np.array([1]),
    "two": np.array([2]), "three": np.array([3]), "kind": np.array(1),
}  # fmt: skip
OUTPUTS = "int64[R, 3] kept, float[R, 4] best, float[R] sure, int64[R] kinds, float[R, 6] records"
# As exporters write it: numbers of boxes are cut out, boxes are gathered, all joined to records.
BODY = """
    kept = NonMaxSuppression <center_point_box = 1> (boxes, scores, most, overlap, least)
    cut = Slice (kept, two, three, one)
    numbers = Squeeze (cut, one)
    flat = Squeeze (boxes, zero)
    best = Gather <axis = 0> (flat, numbers)
    kinds = Gather <axis = 1> (kept, kind)
    planes = Squeeze (scores, zero)
    pairs = Slice (kept, one, three, one)
    sure = GatherND (planes, pairs)
    column = Unsqueeze (sure, one)
    real = Cast <to = 1> (kinds)
    whole = Mul (real, unit)
    kind_column = Unsqueeze (whole, one)
    records = Concat <axis = 1> (best, column, kind_column)
"""


def detector(
    tmp_path: Path, body: str = BODY, outputs: str = OUTPUTS, batch: str = "1", opset: int = 17,
    **limits: Array,
) -> Path:  # fmt: skip
    text = (
        f"model (float[{batch}, 6, 4] boxes, float[{batch}, 2, 6] scores) => ({outputs}) {{{body}}}"
    )
    constants = LIMITS | {"unit": np.array(1, np.float32)} | limits
    used = {name: value for name, value in constants.items() if name in body.replace(",", " ")}
    return parsed(tmp_path, text, opset, **used)


def samples(batch: int = 1, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    boxes = rng.random((batch, 6, 4)).astype(np.float32)
    return boxes, rng.random((batch, 2, 6)).astype(np.float32)


@pytest.mark.parametrize("sign", [1, -1])  # -1: nothing is found
def test_rows_that_are_there_are_those_of_the_file_and_the_others_hold_minus_one(
    tmp_path: Path, sign: int
) -> None:
    model = detector(tmp_path)
    boxes, scores = samples()
    feed = boxes, np.float32(sign) * scores
    *found, counts = ours(model, *feed)
    wanted = reference(model, *feed)
    (count,) = counts
    assert count == len(wanted[0])
    assert (count > 0) == (sign > 0)
    assert [len(each) for each in found] == [6] * 5
    for each, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(each[:count], theirs)
        assert (each[count:] == -1).all()


KEPT_ALONE = "kept = NonMaxSuppression (boxes, scores, most, overlap, least)"


@pytest.mark.parametrize("opset", [10, 11, 17, 21])
@pytest.mark.parametrize("batch", ["1", "2", "N"])
def test_a_model_that_was_brought_in_computes_the_same_everywhere(
    tmp_path: Path, batch: str, opset: int
) -> None:
    model = detector(tmp_path, KEPT_ALONE, "int64[R, 3] kept", batch, opset)
    notes: list[str] = []
    entered = io.load_model(model, notes)
    assert [note for note in notes if "'kept_count'" in note]
    io.save_model(entered, tmp_path / "again.onnx")
    again = io.load_model(tmp_path / "again.onnx")
    feed = samples(2 if batch == "2" else 1)
    names = [value.name for value in again.graph.input]
    found, (count,) = Session(again, optimize=False)(dict(zip(names, feed, strict=True)))
    (wanted,) = reference(model, *feed)
    assert found.shape == (6 * len(feed[0]), 3)
    np.testing.assert_array_equal(found[:count], wanted)
    assert count == len(wanted)
    if batch != "N" or opset == 17:
        for mine, theirs in zip(
            ours(tmp_path / "again.onnx", *feed), (found, [count]), strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("body", "output", "operator"),
    [
        ("shape = Shape (kept)", "int64[2] shape", "Shape"),
        ("sum = ReduceMax <keepdims = 0> (kept)", "int64 sum", "ReduceMax"),
        ("first = Gather <axis = 0> (kept, zero)", "int64[1, 3] first", "Gather"),
        ("part = Slice (kept, zero, one, zero)", "int64[S, 3] part", "Slice"),
        ("both = Concat <axis = 0> (kept, kept)", "int64[S, 3] both", "Concat"),
        ("flat = Reshape (kept, m1)", "int64[S] flat", "Reshape"),
        ("more = Add (kept, table)", "int64[6, 3] more", "Add"),
    ],
)
def test_what_needs_to_know_how_many_there_are_is_refused_by_name(
    tmp_path: Path, body: str, output: str, operator: str
) -> None:
    model = detector(
        tmp_path, f"{KEPT_ALONE}\n{body}", output, m1=np.array([-1]),
        table=np.zeros((6, 3), np.int64),
    )  # fmt: skip
    with pytest.raises(UnsupportedError) as error:
        io.load_model(model)
    assert error.value.message.startswith(f"{model}: operator {operator} (")
    assert error.value.message.endswith(
        "boxes that NonMaxSuppression ('kept') kept, and how many they are depends on data"
    )
    assert error.value.hint.startswith("end the model before it")


def test_rows_keep_their_axis_through_what_moves_them(tmp_path: Path) -> None:
    body = f"""
    {KEPT_ALONE}
    turned = Transpose (kept)
    wide = Unsqueeze (turned, one)
    a, b = Split <axis = 0> (wide, parts)
    sum = Sub (b, a)
    y = Reshape (sum, shape)
    """
    model = detector(
        tmp_path,
        body,
        "int64[2, R] y",
        parts=np.array([1, 2]),
        shape=np.array([0, -1]),
        least=np.array([0.7], np.float32),
    )
    feed = samples()
    found, (count,) = ours(model, *feed)
    (wanted,) = reference(model, *feed)
    assert 0 < count == wanted.shape[1] < 6
    np.testing.assert_array_equal(found[:, :count], wanted)
    assert (found[:, count:] == -1).all()


def test_limits_that_are_inputs_are_refused_until_they_are_fixed(tmp_path: Path) -> None:
    text = """model (float[1, 6, 4] boxes, float[1, 2, 6] scores, int64[1] most)
    => (int64[R, 3] kept) { kept = NonMaxSuppression (boxes, scores, most) }"""
    model = parsed(tmp_path, text)
    with pytest.raises(
        UnsupportedError, match=r"NonMaxSuppression.*its limits and .* must be constants"
    ):
        ours(model, *samples(), np.array([3]))
    io.save_model(enter(model, constants=["most=3"]).model, tmp_path / "fixed.onnx")
    found, _ = ours(tmp_path / "fixed.onnx", *samples())
    assert found.shape == (6, 3)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ("", "keeps no box: max_output_boxes_per_class is left out"),
        (", none", "keeps no box: max_output_boxes_per_class is 0"),
        (", minus", "keeps no box: max_output_boxes_per_class is -1"),
        (", three, above", "has iou_threshold 1.5, which is no share"),
        (", three, below", "has iou_threshold -0.5, which is no share"),
    ],
)
def test_limits_that_keep_nothing_or_that_onnx_runtime_refuses_are_refused_in_words(
    tmp_path: Path, limits: str, message: str
) -> None:
    text = f"""model (float[1, 6, 4] boxes, float[1, 2, 6] scores) => (int64[R, 3] kept)
    {{ kept = NonMaxSuppression (boxes, scores{limits}) }}"""
    model = parsed(
        tmp_path, text, none=np.array([0]), minus=np.array([-1]), three=np.array([3]),
        above=np.array([1.5], np.float32), below=np.array([-0.5], np.float32),
    )  # fmt: skip
    with pytest.raises(UnsupportedError) as error:
        io.load_model(model)
    assert error.value.message == f"{model}: operator NonMaxSuppression ('kept') {message}"
    assert error.value.hint.startswith("export it with ")
