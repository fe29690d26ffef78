"""Text as what a program takes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekiln.runtime.errors import BundleError, InputError
from edgekiln.runtime.inputs import fit, load_input
from edgekiln.runtime.manifest import ProgramSpec, TensorSpec, from_json, text_of
from edgekiln.runtime.random_inputs import random_input
from tests.runtime.conftest import TOY

READS = TensorSpec(name="text", shape=(1, 8), dtype="uint8", holds="text")


def row(text: bytes) -> list[int]:
    return [*text, *bytes(8 - len(text))]


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        ("a b", [b"a b"]),
        (b"a b", [b"a b"]),
        (["\u00e9", "12345678"], [b"\xc3\xa9", b"12345678"]),
        ("", [b""]),
        ("a\0b", [b"ab"]),
        ("a\ud800b", [b"ab"]),
    ],
)
def test_text_becomes_bytes(given: object, rows: list[bytes]) -> None:
    found = fit(np.asarray(given), READS, "load")
    assert found.dtype == np.uint8
    assert found.tolist() == [row(each) for each in rows]


def test_lines_of_a_file_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.TXT"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\ntwo\n")
    assert load_input(path, READS).tolist() == [row(b"one"), row(b""), row(b"two")]


def test_what_is_too_long_or_for_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("123456789\n")
    with pytest.raises(InputError, match="a text of 9 bytes, input 'text' takes 8"):
        load_input(tmp_path / "a.txt", READS)
    with pytest.raises(InputError, match="takes no text"):
        fit(np.asarray("a"), replace(READS, holds=""), "load")
    with pytest.raises(InputError, match="takes no text"):
        load_input(tmp_path / "a.txt", replace(READS, dtype="float32", holds=""))


@pytest.mark.parametrize("wrong", [{"shape": (8,)}, {"shape": ()}, {"dtype": "float32"}])
def test_what_says_that_it_is_text_has_rows_of_bytes(wrong: dict[str, Any]) -> None:
    for spec, fine in ((READS, True), (replace(READS, **wrong), False)):
        text = text_of(replace(TOY, inputs=(spec,)))
        if fine:
            assert from_json(ProgramSpec, text, "p").inputs == (spec,)
        else:
            with pytest.raises(BundleError, match=r"'text': .* is no text"):
                from_json(ProgramSpec, text, "p")


def test_drawn_text_can_be_read() -> None:
    drawn = random_input(replace(READS, shape=(4, 400)), np.random.default_rng(0))
    assert drawn.dtype == np.uint8
    for each in drawn:
        text = bytes(each).rstrip(b"\0")
        assert 100 <= len(text) <= 400
        assert b"\0" not in text
        assert " " in text.decode(errors="ignore")
