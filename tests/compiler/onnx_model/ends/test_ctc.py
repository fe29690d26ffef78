"""CTC behind a network: what it says, what its classes are called, and what is refused."""

from itertools import groupby
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.ends.attach import attach
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.stages.attach import AttachStage
from edgekiln.runtime.documents import Output
from edgekiln.runtime.errors import EdgeKilnError
from edgekiln.runtime.manifest import SYMBOLS, TensorSpec
from edgekiln.runtime.text import output_lines

CLASSES = 4
Shape = tuple[int | str, ...]


def recognizer(
    shape: Shape = ("N", 7, CLASSES), labels: tuple[str, ...] = (), opset: int = 17,
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:  # fmt: skip
    """It gives the negative of what it takes."""
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["scores"])],
        "recognizer",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("scores", kind, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    io.write_meta(model, io.Meta(labels=labels))
    return model


@pytest.mark.parametrize("opset", [11, 13, 20])
@pytest.mark.parametrize(
    ("step", "blank", "layout"),
    [
        ("ctc", 0, "NTC"), ("ctc=greedy", 0, "NTC"), ("ctc=greedy?blank=2", 2, "NTC"),
        ("ctc=greedy?blank=-1&layout=NCT", 3, "NCT"), ("ctc=greedy?blank=-4", 0, "NTC"),
    ],
)  # fmt: skip
def test_the_likeliest_path_is_collapsed(step: str, blank: int, layout: str, opset: int) -> None:
    shape: Shape = ("N", 7, CLASSES) if layout == "NTC" else ("N", CLASSES, 7)
    model = recognizer(shape, opset=opset)
    attach(model, (), (step,))
    onnx.checker.check_model(model)
    rows, steps, classes = (9, 7, CLASSES)
    scores = np.random.default_rng(3).normal(size=(rows, steps, classes)).astype(np.float32)
    given = scores if layout == "NTC" else scores.transpose(0, 2, 1)
    symbols, length = Session(model, optimize=False)(-given)
    right = [[c for c, _ in groupby(row) if c != blank] for row in scores.argmax(-1).tolist()]
    assert [row[:count].tolist() for row, count in zip(symbols, length, strict=True)] == right
    assert all((row[count:] == -1).all() for row, count in zip(symbols, length, strict=True))
    assert [value.name for value in model.graph.output] == ["symbols", "length"]
    assert io.read_meta(model).holds == SYMBOLS


@pytest.mark.parametrize(
    ("step", "said", "names"),
    [
        ("ctc", ("a", "b", "c"), ("", "a", "b", "c")),
        ("ctc=greedy?blank=-1", ("a", "b", "c"), ("a", "b", "c", "")),
        ("ctc=greedy?blank=1", ("a", "nothing", "b", "c"), ("a", "", "b", "c")),
        ("ctc=greedy?labels={}", (), ("", "x", "\u3000", "é")),
        ("ctc=greedy?labels={}&blank=3", ("a", "b"), ("x", "\u3000", "é", "")),
        ("ctc", (), ()),
    ],
)
def test_classes_have_their_names_and_the_blank_none(
    tmp_path: Path, step: str, said: tuple[str, ...], names: tuple[str, ...]
) -> None:
    (tmp_path / "names.txt").write_bytes("\ufeffx\r\n\u3000\r\né".encode())
    model = recognizer(labels=said)
    attach(model, (), (step.format(tmp_path / "names.txt"),))
    meta = io.read_meta(model)
    assert meta.labels == names
    assert str(tmp_path) not in str(meta.after)  # where it lay is no one's business


def test_a_last_class_may_be_a_space(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("x\ny\n")
    model = recognizer()
    attach(model, (), (f"ctc=greedy?labels={tmp_path / 'names.txt'}&space=true",))
    assert io.read_meta(model).labels == ("", "x", "y", " ")


@pytest.mark.parametrize(
    ("labels", "texts"),
    [(("", "a", "b", " "), ("ab b", "")), ((), ("1 2 3 2", "")), (("", "a"), ("a232", ""))],
)
def test_what_it_says_is_printed(labels: tuple[str, ...], texts: tuple[str, ...]) -> None:
    result = np.array([[1, 2, 3, 2, -1], [-1] * 5])
    spec = TensorSpec(name="symbols", shape=(1, 5), dtype="int64", labels=labels, holds=SYMBOLS)
    assert Output.of(spec, result).answers == texts
    lines = [*output_lines(spec, result)]
    assert lines == ["symbols: int64 2×5", f"  0: {texts[0]}", "  1: "]


@pytest.mark.parametrize(
    ("model", "step", "message", "hint"),
    [
        (recognizer(), "ctc=beam", "no decoder 'beam'", "greedy"),
        (recognizer(), "ctc=greedy?blnk=1", "no option 'blnk'", "did you mean blank?"),
        (recognizer(), "ctc=greedy?blank=x", "blank=x does not fit", "the last"),
        (recognizer(), "ctc=greedy?blank=4", "blank=4 of 4 classes", "0 to 3"),
        (recognizer(), "ctc=greedy?blank=-5", "blank=-5 of 4 classes", "0 to 3"),
        (recognizer(), "ctc=greedy?layout=TNC", "layout=TNC does not fit", "NCT"),
        (recognizer(), "ctc=greedy?space=true", "space=true without names", "labels=FILE"),
        (recognizer(), "ctc=greedy?space=1", "space=1 does not fit", "true or false"),
        (recognizer(labels=("a", "b")), "ctc", "2 names of 4 classes", "space=true"),
        (recognizer(("N", "T", 4)), "ctc", "output 'scores' is float32", "--shape"),
        (recognizer((1, 4)), "ctc", "output 'scores' is float32 [1, 4]", "layout=NCT"),
        (recognizer(kind=TensorProto.DOUBLE), "ctc", "is float64", "float scores"),
        (recognizer(), "ctc=greedy?labels=gone.txt", "gone.txt: No such file", "a line each"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    model: onnx.ModelProto, step: str, message: str, hint: str
) -> None:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    with pytest.raises(EdgeKilnError) as caught:
        attach(copy, (), (step,))
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("others", [("softmax", "ctc"), ("ctc", "argmax")])
def test_other_steps_beside_it_are_refused(others: tuple[str, str]) -> None:
    with pytest.raises(EdgeKilnError, match="step ctc: stands with other steps"):
        attach(recognizer(), (), others)


def test_names_are_in_the_stages_key(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\n")
    stage = AttachStage(after=(f"ctc=greedy?labels={names}",))
    (before,) = stage.uses(None, None).values()
    names.write_text("a\nb\nd\n")
    assert [*stage.uses(None, None).values()] != [before]
