"""Text before a network: what is attached, and what is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.ends.attach import attach
from edgekiln.compiler.onnx_model.extents import extents
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.stages.attach import AttachStage
from edgekiln.runtime.errors import ConfigError, EdgeKilnError, InputError, UnsupportedError
from edgekiln.runtime.manifest import TEXT
from tests.models.text.tokenizer_c import WORDS, write_vocabulary

INT64, INT32, BOOL = TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL
Inputs = tuple[tuple[str, int], ...]
USUAL: Inputs = (("input_ids", INT64), ("attention_mask", INT64), ("token_type_ids", INT64))


def echo(
    inputs: Inputs = USUAL, length: int | str = 8, rows: int = len(WORDS), batch: int | str = 2
) -> onnx.ModelProto:
    """A network that gives what it takes, and looks its numbers up in a table."""
    nodes = [helper.make_node("Identity", [name], [f"{name}_seen"]) for name, _ in inputs]
    nodes.append(helper.make_node("Gather", ["words", inputs[0][0]], ["word"]))
    values = [helper.make_tensor_value_info(n, kind, [batch, length]) for n, kind in inputs]
    outputs = [
        helper.make_tensor_value_info(f"{n}_seen", kind, [batch, length]) for n, kind in inputs
    ]
    outputs.append(helper.make_tensor_value_info("word", TensorProto.FLOAT, [batch, length, 1]))
    words = numpy_helper.from_array(np.zeros((rows, 1), np.float32), "words")
    graph = helper.make_graph(nodes, "echo", values, outputs, [words])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def ids(*words: str) -> list[int]:
    found = [WORDS.index(word) for word in ("[CLS]", *words, "[SEP]")]
    return found + [0] * (8 - len(found))


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    return write_vocabulary(tmp_path / "vocab.txt")


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (USUAL, ""),
        (USUAL[:2], ""),
        (USUAL[::2], ""),
        ((("x", INT32),), ""),
        ((("input_ids:0", INT32), ("attention_mask:0", BOOL)), ""),
        ((("a", INT64), ("b", INT32)), "&ids=a&mask=b"),
        ((("ids", INT64), ("input_mask", TensorProto.FLOAT), ("segment_ids", INT32)), "&length=8"),
    ],
)
def test_a_network_gets_numbers_mask_and_types(
    vocabulary: Path, inputs: Inputs, options: str
) -> None:
    model = echo(inputs)
    (note,) = attach(model, (f"wordpiece={vocabulary}?bytes=20{options}",), ())
    assert "it takes uint8 text [20], UTF-8, and makes 8 tokens of" in note
    onnx.checker.check_model(model)
    (text,) = model.graph.input
    assert (text.name, extents(text), io.read_meta(model).takes) == ("text", (2, 20), TEXT)
    given = np.zeros((2, 20), np.uint8)
    for row, words in zip(given, (b"the RUN.", b"running"), strict=True):
        row[: len(words)] = list(words)
    results = dict(zip([each.name for each in model.graph.output], Session(
        model, optimize=False)(given), strict=True))  # fmt: skip
    wanted = np.array([ids("the", "run", "."), ids("run", "##ning")])
    for name, kind in inputs:
        found = results[f"{name}_seen"]
        assert found.dtype == helper.tensor_dtype_to_np_dtype(kind)
        if name == inputs[0][0]:
            right = wanted
        elif "mask" in name or name == "b":
            right = (wanted != 0).astype(int)
        else:
            right = np.zeros_like(wanted)
        np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize(
    ("model", "step", "message", "hint"),
    [
        (echo(), "wordpiece=?length=8", "names no vocabulary", "vocab.txt"),
        (echo(), "wordpiece={v}?long=3", "no option 'long'", "did you mean length?"),
        (echo(), "wordpiece={v}?length=2", "length=2 does not fit", "from 3 to"),
        (echo(), "wordpiece={v}?bytes=0", "bytes=0 does not fit", "from 1 to"),
        (echo(), "wordpiece={v}?lower=yes", "lower=yes does not fit", "true or false"),
        (echo(), "wordpiece={v}?length=9", "'input_ids' has 8 tokens, and not 9", "export"),
        (echo(), "wordpiece={v}?mask=m", "no input 'm'", "int64 attention_mask"),
        (echo(length="T"), "wordpiece={v}", "has no fixed length", "--shape T=128"),
        (echo(length="?"), "wordpiece={v}", "has no fixed length", "--shape input_ids=1x128"),
        (echo(rows=9), "wordpiece={v}", "numbers up to 59, the network knows 9", "trained with"),
        (echo((("ids", TensorProto.FLOAT),), rows=0), "wordpiece={v}", "is float32", "int32"),
        (echo((*USUAL, ("z", INT64))), "wordpiece={v}", "the network takes int64", "ids=NAME"),
        (echo(((("a"), INT64), ("b", INT64))), "wordpiece={v}", "the network takes", "ids=NAME"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    vocabulary: Path, model: onnx.ModelProto, step: str, message: str, hint: str
) -> None:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    with pytest.raises(EdgeKilnError) as caught:
        attach(copy, (step.format(v=vocabulary),), ())
    assert message.lower() in caught.value.message.lower()
    assert hint in caught.value.hint


def test_further_steps_and_other_sources_are_refused(vocabulary: Path) -> None:
    with pytest.raises(ConfigError, match="is a step of pictures"):
        attach(echo(), (f"wordpiece={vocabulary}", "resize"), ())
    with pytest.raises(ConfigError, match="wordpiece: does not fit"):
        attach(echo(), ("wordpiece",), ())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.txt", b"\xff", "no text in UTF-8"),
        ("v.txt", b"the\na\n", "has no token '[CLS]'"),
        ("v.json", b"{", "no JSON"),
        ("v.json", b"[]", "no tokenizer.json"),
        ("v.json", b'{"model": {"type": "BPE"}}', "its model is BPE"),
        ("v.json", b'{"model": {}}', "its normalizer is None"),
    ],
)
def test_other_vocabularies_are_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        attach(echo(), (f"wordpiece={tmp_path / name}",), ())
    assert message in caught.value.message


def test_tables_that_lead_outside_are_refused(vocabulary: Path) -> None:
    model = echo()
    attach(model, (f"wordpiece={vocabulary}",), ())
    tables = next(w for w in model.graph.initializer if w.name == "before/tables")
    array = numpy_helper.to_array(tables).copy()
    array[4 * 16] = 0xFF
    array[4 * 16 + 3] = 0x7F  # where strings lie
    tables.CopyFrom(numpy_helper.from_array(array, "before/tables"))
    with pytest.raises(UnsupportedError, match="its tokens lie outside"):
        Session(model, optimize=False)


def test_the_vocabulary_is_in_the_stages_key(vocabulary: Path) -> None:
    stage = AttachStage(before=(f"wordpiece={vocabulary}",))
    (before,) = stage.uses(None, None).values()
    write_vocabulary(vocabulary, [*WORDS, "more"])
    assert [*stage.uses(None, None).values()] != [before]
