"""The table of Unicode's characters is what `tokenizers` says."""

import os
from pathlib import Path

import pytest

from edgekiln.models.text import bert_unicode
from edgekiln.models.text.bert_unicode import Habits, Piece, unicode

FILE = Path(bert_unicode.__file__).with_suffix(".txt")


@pytest.mark.slow
def test_the_table_is_what_tokenizers_does_to_each_character() -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="the oracle, of the extra `oracles`")
    from tests.models.text import unicode_facts

    if f"tokenizers` {tokenizers.__version__} " not in FILE.read_text():
        pytest.skip("another release of tokenizers than the table is of")
    found = unicode_facts.text()
    if os.environ.get("EDGEKILN_UPDATE_GOLDEN"):
        FILE.write_text(found)
    assert found == FILE.read_text()


def test_some_characters_become_what_unicode_says() -> None:
    known = unicode(Habits())
    assert known.pieces[ord("É")] == (Piece(code_point=ord("e")),)
    assert known.pieces[ord("≠")] == (Piece(code_point=ord("="), alone=True),)
    assert known.pieces[ord("中")] == (Piece(code_point=ord("中"), alone=True),)
    assert 0x301 in known.left_out
    assert {0, 0x200B, 0xFFFD, 0xE000} <= known.left_out
    assert {0x20, 0x3000, 0xA0} <= known.spaces
    assert known.hangul
    kept = unicode(Habits(lower=False, accents=True))
    assert ord("É") not in kept.pieces
    assert 0x301 not in kept.left_out
    assert not kept.hangul
    assert unicode(Habits(lower=True, accents=True)).pieces[0x130] == (
        Piece(code_point=ord("i")), Piece(code_point=0x307),
    )  # fmt: skip
    assert ord("中") not in unicode(Habits(ideographs=False)).pieces
