"""A tokenizer.json that says two numbers of one token is refused: `tokenizers` takes either."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgekiln.models.text.bpe_vocabulary import read_bpe
from edgekiln.models.text.vocabulary import read_vocabulary
from edgekiln.runtime.errors import InputError
from tests.models.text import test_bpe, tokenizer_c

tokenizers = pytest.importorskip("tokenizers", reason="the oracle, of the extra `oracles`")


def written(kind: str, home: Path) -> Path:
    path = home / "tokenizer.json"
    if kind == "bpe":
        return test_bpe.trained(path)
    words = tokenizer_c.write_vocabulary(home / "vocab.txt")
    tokenizers.implementations.BertWordPieceTokenizer(str(words)).save(str(path))
    return path


def read(kind: str, path: Path) -> None:
    read_bpe(path) if kind == "bpe" else read_vocabulary(path)


def around(kind: str, number: int) -> dict[str, Any]:
    """Tokens around a text, of which the first is said to have this number."""
    first = {"id": "<s>", "ids": [number], "tokens": ["<s>"]}
    if kind == "template":
        single = [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                  {"Sequence": {"id": "A", "type_id": 0}}]  # fmt: skip
        return {"type": "TemplateProcessing", "single": single, "special_tokens": {"<s>": first}}
    pairs = {"cls": ["<s>", number], "sep": ["</s>", 2]}
    roberta = {"type": "RobertaProcessing", **pairs}
    return roberta if kind == "pairs" else {"type": "Sequence", "processors": [roberta]}


@pytest.mark.parametrize(
    ("kind", "content"),
    [("bpe", "Q"), ("bpe", "new"), ("wordpiece", "a"), ("wordpiece", "new")],
)
def test_of_an_added_token_only_the_number_of_its_place_is_taken(
    tmp_path: Path, kind: str, content: str
) -> None:
    path = written(kind, tmp_path)
    read(kind, path)
    whole = json.loads(path.read_text())
    given = tokenizers.Tokenizer.from_file(str(path))
    given.add_tokens([tokenizers.AddedToken(content, normalized=False)])
    right = given.token_to_id(content)
    entry = {"content": content, "normalized": False, "special": True}
    for number, fault in ((right, ""), (right + 1, f"has number {right + 1}, and {right} by its")):
        added = [*whole["added_tokens"], {**entry, "id": number}]
        path.write_text(json.dumps({**whole, "added_tokens": added}))
        if fault:
            with pytest.raises(InputError, match=fault):
                read(kind, path)
        else:
            read(kind, path)
    assert fault


@pytest.mark.parametrize("form", ["template", "pairs", "sequence"])
def test_tokens_around_a_text_have_the_vocabularys_numbers(tmp_path: Path, form: str) -> None:
    path = written("bpe", tmp_path)
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, "post_processor": around(form, 0)}))
    assert read_bpe(path).before == 0
    path.write_text(json.dumps({**whole, "post_processor": around(form, 7)}))
    with pytest.raises(InputError, match="it puts token 7 for '<s>', whose number is 0"):
        read_bpe(path)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_what_fills_up_has_the_vocabularys_number(tmp_path: Path, kind: str) -> None:
    path = written(kind, tmp_path)
    whole = json.loads(path.read_text())
    pad = {"bpe": "<pad>", "wordpiece": "[PAD]"}[kind]
    path.write_text(json.dumps({**whole, "padding": {"pad_token": pad, "pad_id": 9}}))
    with pytest.raises(InputError, match="it puts token 9 for"):
        read(kind, path)
