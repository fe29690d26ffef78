"""Programs that take text by GPT-2's tokenizer: tokens, on this machine and on chips."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from edgekiln.compiler.evaluation.subject import open_subject
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.ends.attach import attach
from edgekiln.compiler.onnx_model.text_cut import cut
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.stages.attach import AttachStage
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.errors import ConfigError, EdgeKilnError, UnsupportedError
from edgekiln.runtime.texts import rows
from edgekiln.targets import profile
from tests.compiler.onnx_model.ends.test_text import USUAL, Inputs, echo
from tests.e2e.compiled_models import build, check
from tests.e2e.test_text import GPU

pytest.importorskip("tokenizers", reason="a small vocabulary is trained by it")

from tests.models.text.test_bpe import trained  # it needs tokenizers, too

LENGTH, BYTES, ROWS = 12, 64, 430
TEXTS = ("the quick brown fox", "it's  12 café 中文 😀", "", "x" * 60)


def with_text(tmp_path: Path, inputs: Inputs = USUAL[:2], batch: int | str = 1) -> Path:
    """A network that gives the tokens that it takes, behind the tokenizer."""
    vocabulary = trained(tmp_path / "tokenizer.json", roberta=True)
    model = echo(inputs, length=LENGTH, rows=ROWS, batch=batch)
    (note,) = attach(model, (f"bpe={vocabulary}?bytes={BYTES}",), ())
    assert f"it takes uint8 text [{BYTES}], UTF-8, and makes {LENGTH} tokens" in note
    io.save_model(model, tmp_path / "text.onnx")
    return tmp_path / "text.onnx"


def wanted(tmp_path: Path) -> np.ndarray:
    """Numbers and masks of all texts, by `tokenizers` itself."""
    from tokenizers import Tokenizer

    oracle = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    oracle.enable_truncation(LENGTH)
    pad = oracle.token_to_id("<pad>")
    oracle.enable_padding(length=LENGTH, pad_id=pad, pad_token="<pad>")
    made = oracle.encode_batch(list(TEXTS))
    return np.array([[each.ids, each.attention_mask] for each in made])


@pytest.mark.parametrize(
    ("inputs", "batch"),
    [(USUAL[:2], 1), (USUAL[:2], 3), ((("ids", TensorProto.INT32),), 1)],
)
def test_text_becomes_the_tokens_of_the_oracle(tmp_path: Path, inputs: Inputs, batch: int) -> None:
    model = with_text(tmp_path, inputs, batch)
    result = check(model, profile.load("host"), samples=12)
    (tokens,) = (gap for gap in result.layers if gap.name == inputs[0][0])
    assert (tokens.differing, tokens.elements > 0) == (0, True)
    assert batch > 1 or read_by(model.with_suffix(".host.lib")) == wanted(tmp_path)[:, 0].tolist()


def read_by(lib: Path) -> list[list[int]]:
    """The numbers of the tokens of all texts, by a program."""
    subject = open_subject(Artifact.of_file(lib, "lib"))
    (spec,) = ProgramFile.open(lib).spec.inputs
    return [subject.predict({"text": rows([text], spec, "")})[0][0].tolist() for text in TEXTS]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4", "rpi5", "rpi2-armv7"])
def test_other_chips_make_the_same_tokens(tmp_path: Path, target: str) -> None:
    model = with_text(tmp_path)
    lib = build(model, profile.load(target))
    subject = open_subject(Artifact.of_file(lib, "lib"))
    (spec,) = ProgramFile.open(lib).spec.inputs
    found = [subject.predict({"text": rows([text], spec, "")})[:2] for text in TEXTS]
    np.testing.assert_array_equal(np.array(found)[:, :, 0], wanted(tmp_path))


def test_a_gpu_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="no kernel for GPUs makes tokens") as caught:
        build(with_text(tmp_path), profile.load(GPU))
    assert "the step bpe out" in caught.value.hint


def test_tables_that_lead_outside_are_refused(tmp_path: Path) -> None:
    model = io.load_model(with_text(tmp_path))
    tables = next(w for w in model.graph.initializer if w.name == "before/tables")
    array = numpy_helper.to_array(tables).copy()
    array[4 * 12 + 3] = 0x7F  # where merges lie
    tables.CopyFrom(numpy_helper.from_array(array, "before/tables"))
    with pytest.raises(UnsupportedError, match=r"BytePair .*do not hold their firsts"):
        cut(model)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("bpe={v}?lower=true", "no option 'lower'"),
        ("bpe={v}?bytes=65537", "bytes=65537 does not fit"),
        ("bpe={v}?eos=<x>", "has no token '<x>'"),
        ("bpe={v}?merges=m.txt", "has its merges inside"),
        ("bpe={v}?length=9", "'input_ids' has 8 tokens, and not 9"),
        ("bpe=?length=8", "names no vocabulary"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, step: str, message: str) -> None:
    vocabulary = trained(tmp_path / "tokenizer.json")
    copy = onnx.ModelProto()
    copy.CopyFrom(echo(rows=ROWS))
    with pytest.raises(EdgeKilnError) as caught:
        attach(copy, (step.format(v=vocabulary),), ())
    assert message in caught.value.message
    assert caught.value.hint


def test_a_vocabulary_has_to_say_what_fills_up(tmp_path: Path) -> None:
    vocabulary = trained(tmp_path / "tokenizer.json")
    text = vocabulary.read_text().replace("<pad>", "<p>").replace("<|endoftext|>", "<e>")
    vocabulary.write_text(text)
    with pytest.raises(ConfigError, match="does not say what fills up") as caught:
        attach(echo(rows=ROWS), (f"bpe={vocabulary}",), ())
    assert "pad=TOKEN" in caught.value.hint


def test_merges_are_in_the_stages_key(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{}")
    (tmp_path / "merges.txt").write_text("a b\n")
    stage = AttachStage(before=(f"bpe={tmp_path / 'vocab.json'}",))
    before = [*stage.uses(None, None).values()]
    (tmp_path / "merges.txt").write_text("a c\n")
    after = [*stage.uses(None, None).values()]
    assert len(before) == 2
    assert before[0] == after[0]
    assert before[1] != after[1]
