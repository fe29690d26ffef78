"""Texts as data: lines and columns become the tokens that `tokenizers` would make of them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekiln.models.data import is_unlabelled, load, load_samples, texts
from edgekiln.models.data.options import parse
from edgekiln.models.data.unlabelled import fingerprint
from edgekiln.models.spec import split
from edgekiln.runtime.errors import ConfigError, InputError
from tests.models.text.tokenizer_c import WORDS, write_vocabulary

REVIEWS = ("the able", "unaffable, the run", "Caf\u00e9", "running the a b e n u run")
NUMBERS = {word: number for number, word in enumerate(WORDS)}


@pytest.fixture
def how(tmp_path: Path) -> str:
    return f"vocabulary={write_vocabulary(tmp_path / 'vocab.txt')}&length=6"


def row(*words: str) -> list[int]:
    found = [NUMBERS[word] for word in ("[CLS]", *words, "[SEP]")]
    return found + [NUMBERS["[PAD]"]] * (6 - len(found))


WANTED = {
    REVIEWS[0]: row("the", "able"),
    REVIEWS[1]: row("un", "##aff", "##able", ","),
    REVIEWS[2]: row("cafe"),
    REVIEWS[3]: row("run", "##ning", "the", "a"),
}


def test_lines_calibrate(tmp_path: Path, how: str) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(["", *REVIEWS]) + "\n", encoding="utf-8")
    spec = f"{path}?{how}"
    assert is_unlabelled(spec)
    found = load_samples(spec, 0)
    assert list(found.arrays) == ["input_ids", "attention_mask", "token_type_ids"]
    ids, mask, types = found.arrays.values()
    assert ids.tolist() == [WANTED[text] for text in REVIEWS]
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(mask, ids != NUMBERS["[PAD]"])
    assert not types.any()
    fewer = load_samples(f"{spec}&inputs=tokens,seen", 0)
    assert list(fewer.arrays) == ["tokens", "seen"]
    before = fingerprint(spec)
    write_vocabulary(tmp_path / "vocab.txt", [*WORDS[:-1], "else"])
    assert fingerprint(spec) != before


def test_only_a_line_feed_ends_a_line(tmp_path: Path, how: str) -> None:
    """As `run --input lines.txt` has it: one file is as many texts wherever it is read."""
    path = tmp_path / "lines.txt"
    text = "\ufeffthe\u2028able\r\nun\x85\x0caffable\x1ethe\nrun"
    path.write_bytes(text.encode())
    found = load_samples(f"{path}?{how}", 0)
    assert found.arrays["input_ids"].shape == (3, 6)
    assert found.arrays["input_ids"][0].tolist() == WANTED[REVIEWS[0]]


def test_a_column_of_a_table_is_text(tmp_path: Path, how: str) -> None:
    path = tmp_path / "reviews.csv"
    lines = [f'"{text}",{"good" if n % 2 else "bad"},9' for n, text in enumerate(REVIEWS * 10)]
    path.write_text("\n".join(["review,label,stars", *lines]), encoding="utf-8")
    found = load(f"{path}?text=review&{how}", 0)
    assert (found.classes, found.task, found.preprocessing) == (
        ("bad", "good"), "classification", None,
    )  # fmt: skip
    right = {(tuple(WANTED[text]), n % 2) for n, text in enumerate(REVIEWS)}
    for part in (found.train, found.val, found.calib, found.test):
        pairs = zip(part.inputs["input_ids"].tolist(), part.y.tolist(), strict=True)
        assert {(tuple(ids), kind) for ids, kind in pairs} <= right
        assert len(part) > 0
    before = found.fingerprint
    write_vocabulary(tmp_path / "vocab.txt", [*WORDS[:5], "the", *WORDS[6:]])
    assert load(f"{path}?text=review&{how}", 0).fingerprint != before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "nothing says what tokens its texts are"),
        ("length=6", "nothing says what tokens its texts are"),
        ("{how}&inputs=a,b,c,d", "inputs=a,b,c,d are more than numbers, mask and types"),
        ("vocabulary=nowhere.txt&length=6", "nowhere.txt: No such file or directory"),
        ("{how}&lower=maybe", "data option lower=maybe: does not fit"),
        ("vocabulary=x&length=2", "data option length=2: does not fit"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, how: str, options: str, message: str) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("the\n")
    with pytest.raises((ConfigError, InputError)) as caught:
        load_samples(f"{path}?{options.format(how=how)}".rstrip("?"), 0)
    assert message in caught.value.message


def test_no_text_and_no_utf8_are_refused(tmp_path: Path, how: str) -> None:
    path = tmp_path / "lines.txt"
    for content, message in ((b"\n\n", "holds no text"), (b"\xff\n", "is not UTF-8 text")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            load_samples(f"{path}?{how}", 0)


def test_a_column_that_is_not_there_is_refused(tmp_path: Path, how: str) -> None:
    (tmp_path / "a.csv").write_text("review,label\nthe,good\na,bad\n")
    with pytest.raises(ConfigError, match="no column 'words'"):
        load(f"{tmp_path / 'a.csv'}?text=words&{how}", 0)
    with pytest.raises(ConfigError, match="one column of text and one target"):
        load(f"{tmp_path / 'a.csv'}?text=review&columns=label&{how}", 0)


def test_texts_become_tokens_of_bytes(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="a small vocabulary is trained by it")
    from tokenizers import Tokenizer

    from tests.models.text.test_bpe import trained

    vocabulary = trained(tmp_path / "tokenizer.json", roberta=True)
    (tmp_path / "lines.txt").write_text("the quick fox\nit's 12\n")
    spec = f"{tmp_path / 'lines.txt'}?vocabulary={vocabulary}&length=16"
    options = parse(*split(spec))
    found = texts.read_lines(tmp_path / "lines.txt", options)
    oracle = Tokenizer.from_file(str(vocabulary))
    oracle.enable_padding(length=16, pad_id=oracle.token_to_id("<pad>"), pad_token="<pad>")
    wanted = oracle.encode_batch(["the quick fox", "it's 12"])
    assert [*found] == ["input_ids", "attention_mask"]
    assert found["input_ids"].tolist() == [each.ids for each in wanted]
    assert found["attention_mask"].tolist() == [each.attention_mask for each in wanted]
    with pytest.raises(ConfigError, match="lower= is of WordPiece"):
        texts.read_lines(tmp_path / "lines.txt", replace(options, lower=True))


def test_a_vocab_json_and_its_merges_make_the_tokens_of_their_tokenizer_json(
    tmp_path: Path,
) -> None:
    pytest.importorskip("tokenizers", reason="a small vocabulary is trained by it")
    from tests.models.text.test_bpe import trained

    whole = trained(tmp_path / "tokenizer.json")
    model = json.loads(whole.read_text())["model"]
    (tmp_path / "parts").mkdir()
    vocabulary, merges = tmp_path / "parts" / "vocab.json", tmp_path / "parts" / "merges.txt"
    vocabulary.write_text(json.dumps(model["vocab"]))
    merges.write_text("".join(f"{' '.join(pair)}\n" for pair in model["merges"]))
    lines = tmp_path / "lines.txt"
    lines.write_text("the quick fox\nit's 12\n")
    specs = [f"{lines}?vocabulary={file}&length=16" for file in (whole, vocabulary)]
    same, found = (load_samples(spec, 0).arrays for spec in specs)
    assert [*found] == ["input_ids", "attention_mask"]
    np.testing.assert_array_equal(found["input_ids"], same["input_ids"])
    before = fingerprint(specs[1])
    merges.write_text("")
    assert fingerprint(specs[1]) != before
    assert (load_samples(specs[1], 0).arrays["input_ids"] != found["input_ids"]).any()
    merges.unlink()
    with pytest.raises(InputError) as caught:
        load_samples(specs[1], 0)
    assert str(merges) in caught.value.message
    assert "merges.txt beside it" in caught.value.hint
