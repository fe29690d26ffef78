"""GPT-2's tokenizer in C, and the one in Python, against Hugging Face's `tokenizers`."""

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgekiln.models.text import gpt2_unicode
from edgekiln.models.text.bpe_check import bpe_fault_of
from edgekiln.models.text.bpe_format import FIELDS
from edgekiln.models.text.bpe_tables import bpe_tables
from edgekiln.models.text.bpe_tokens import BpeTokenizer
from edgekiln.models.text.bpe_vocabulary import around, byte_names, read_bpe
from edgekiln.runtime.errors import InputError
from tests.models.text import tokenizer_c

tokenizers: Any = pytest.importorskip("tokenizers", reason="the oracle, of the extra `oracles`")

BYTES, LENGTH = 96, 24
# A tokenizer.json of byte-level BPE, of a package such as `gpt-2-simple` or of a model.
REAL = os.environ.get("EDGEKILN_BPE_JSON", "")
FACTS = Path(gpt2_unicode.__file__).with_suffix(".txt")
NASTY = "".join(
    "'s't're've'm'll'd 'S\u2019s\t\n\r\x0b\x85\xa0\u2003\u3000\u200b\u0301éÉßΣ中文한\u1100"
    "\U0001f6000٣²½Ⅷ𝟘_-+=<>|&\u00ad\ufeff\ufffd\u202f"
)
CORPUS = [
    "the quick brown fox doesn't jump over the lazy dogs, they'll say we've 12 of 345",
    "  indented\tcode:\n    return x + 1  # naïve café 中文 中文 한국어 😀😀",
    "It's I'm you're we'll he'd  two  spaces   three", "aaaa aaaaa aaaaaaa bbbb abababab",
]  # fmt: skip


def trained(path: Path, **around_: Any) -> Path:
    """A tokenizer.json, trained on a few lines."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<s>", "<pad>", "</s>", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(CORPUS * 3, trainer)
    if around_.get("roberta"):
        made.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
        made.post_processor = processors.RobertaProcessing(
            ("</s>", made.token_to_id("</s>")), ("<s>", made.token_to_id("<s>")),
            add_prefix_space=False,
        )  # fmt: skip
        made.enable_padding(pad_id=made.token_to_id("<pad>"), pad_token="<pad>")
    made.no_padding()
    made.save(str(path))
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_c.build(tmp_path_factory.mktemp("bpe"), "bpe")


@pytest.fixture(scope="module", params=["gpt2", "roberta"])
def vocabulary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp(request.param)
    return trained(home / "tokenizer.json", roberta=request.param == "roberta")


def compare(
    program: Path, path: Path, texts: list[bytes], length: int = LENGTH, text_bytes: int = BYTES
) -> None:
    known = read_bpe(path)
    made = bpe_tables(known, length=length, text_bytes=text_bytes, id_bytes=8)
    assert not bpe_fault_of(made)
    ids, mask = tokenizer_c.run(program, made, texts)
    for ours, theirs in zip(BpeTokenizer(made)(texts), (ids, mask), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # What is no UTF-8 cannot be given to the oracle.
    plain = [text.split(b"\0")[0] for text in texts]
    whole = [place for place, text in enumerate(plain) if is_text(text)]
    oracle = tokenizers.Tokenizer.from_file(str(path))
    oracle.enable_truncation(length)
    oracle.enable_padding(length=length, pad_id=known.pad or 0, pad_token="<pad>")
    wanted = oracle.encode_batch([plain[place].decode() for place in whole])
    assert ids[whole].tolist() == [each.ids for each in wanted]
    assert mask[whole].tolist() == [each.attention_mask for each in wanted]


def is_text(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


pieces = st.one_of(
    st.sampled_from(" ".join(CORPUS).split(" ")), st.text(min_size=1, max_size=4),
    st.sampled_from(NASTY), st.sampled_from([" ", "  ", "\n", "'s", "'ll", "'", " '"]),
    st.sampled_from(["<s>", "</s>", "<mask>", "<|endoftext|>", "<", " <mask>"]),
)  # fmt: skip
readable = st.lists(pieces, max_size=24).map(
    lambda parts: "".join(parts).encode(errors="ignore")[:BYTES].decode(errors="ignore").encode()
)
texts = st.lists(st.one_of(readable, st.binary(max_size=BYTES)), min_size=1, max_size=40)


@given(texts)
@example([b"", b" ", b"  ", b"\0the", b" the", b"  the ", b"\n\n the\t x", b"it's", b" 's", b"''s"])
@example([b"a" * 96, b" " * 96, b"a  <mask>  b", b"<mask><mask>", b" <mask>", b"<s></s>", b"<"])
@example([b"\xe4\xb8a", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xff the"])
@settings(max_examples=60, deadline=None)
def test_any_bytes_become_the_same_tokens(
    program: Path, vocabulary: Path, given_: list[bytes]
) -> None:
    compare(program, vocabulary, given_)


def test_many_texts_become_the_same_tokens(program: Path, vocabulary: Path) -> None:
    draw = random.Random(3)
    parts = [*NASTY, *" ".join(CORPUS).split(" "), " ", "  ", "\n"]
    many = ["".join(draw.choices(parts, k=draw.randrange(30))) for _ in range(4000)]
    compare(program, vocabulary, [text.encode()[:BYTES] for text in many])
    for length in (3, 4, 5):
        compare(program, vocabulary, [text.encode()[:BYTES] for text in many[:50]], length)


def test_a_vocab_json_with_its_merges_is_the_same(program: Path, tmp_path: Path) -> None:
    path = trained(tmp_path / "tokenizer.json")
    model = json.loads(path.read_text())["model"]
    model["vocab"]["model"] = 500  # as GPT-2 has it: a token like others
    changed(path, model__vocab=model["vocab"])
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (tmp_path / "merges.txt").write_text("\n".join(lines) + "\n")
    made = [
        bpe_tables(each, length=8, text_bytes=BYTES, id_bytes=4)
        for each in (read_bpe(tmp_path / "vocab.json"), read_bpe(path))
    ]
    given_ = [text.encode()[:BYTES] for text in CORPUS]
    found = [tokenizer_c.run(program, each, given_)[0] for each in made]
    assert found[0].dtype == np.int32
    np.testing.assert_array_equal(*found)


def test_other_tokens_may_stand_around_a_text(program: Path, tmp_path: Path) -> None:
    path = trained(tmp_path / "tokenizer.json")
    known = around(path, read_bpe(path), {"bos": "<s>", "eos": "</s>", "pad": "<pad>"})
    made = bpe_tables(known, length=6, text_bytes=BYTES, id_bytes=8)
    ids, mask = tokenizer_c.run(program, made, [b"\x01", b"abcdefghijkl"])
    numbers = {name: special.number for name, special in known.specials.items()}
    assert ids[:, 0].tolist() == [numbers["<s>"]] * 2
    assert (ids[0, 2], ids[1, 5]) == (numbers["</s>"], numbers["</s>"])
    assert ids[0, 3:].tolist() == [numbers["<pad>"]] * 3
    assert mask.sum(axis=1).tolist() == [3, 6]
    with pytest.raises(InputError, match="has no token '<x>'"):
        around(path, known, {"eos": "<x>"})


@pytest.mark.skipif(not REAL, reason="EDGEKILN_BPE_JSON names no tokenizer.json")
def test_a_real_vocabulary_gives_the_same_tokens(program: Path) -> None:
    draw = random.Random(1)
    words = [*" ".join(CORPUS).split(" "), *NASTY, *read_bpe(Path(REAL)).tokens]
    parts = [[*draw.choices(words, k=16)] for _ in range(5000)]
    given_ = [draw.choice(["", " "]).join(each).encode()[:512] for each in parts]
    compare(program, Path(REAL), given_, length=128, text_bytes=512)


@pytest.mark.slow
def test_the_table_is_what_tokenizers_does_to_each_character() -> None:
    from tests.models.text import gpt2_facts

    if f"tokenizers` {tokenizers.__version__} " not in FACTS.read_text():
        pytest.skip("another release of tokenizers than the table is of")
    found = gpt2_facts.text()
    if os.environ.get("EDGEKILN_UPDATE_GOLDEN"):
        FACTS.write_text(found)
    assert found == FACTS.read_text()


def changed(path: Path, **parts: Any) -> Path:
    whole = json.loads(path.read_text())
    for name, value in parts.items():
        outer, _, inner = name.partition("__")
        if inner:
            whole[outer][inner] = value
        else:
            whole[outer] = value
    path.write_text(json.dumps(whole))
    return path


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"model__type": "Unigram"}, "its model is Unigram, and not BPE"),
        ({"model__byte_fallback": True}, "its byte_fallback is True"),
        ({"model__end_of_word_suffix": "</w>"}, "its end_of_word_suffix is </w>"),
        ({"model__ignore_merges": True}, "its ignore_merges is True"),
        ({"normalizer": {"type": "NFC"}}, "it has a normalizer"),
        ({"pre_tokenizer__type": "Whitespace"}, "its pre_tokenizer is Whitespace"),
        ({"pre_tokenizer__add_prefix_space": True}, "its add_prefix_space is on"),
        ({"pre_tokenizer__use_regex": False}, "its words are cut by another rule"),
        ({"model__merges": ["a b c"]}, "'a b c' is no merge of two tokens"),
        ({"model__merges": ["a \u4e2d"]}, "the merge of 'a' and '\u4e2d' needs a token '\u4e2d'"),
        ({"model__vocab": {"a": 1}}, "has no token for 255 of 256 bytes"),
        ({"model__vocab": {"a": -1}}, "'a' has number -1"),
        ({"post_processor": {"type": "Other"}}, "its post_processor is Other"),
        ({"added_tokens": [{"content": "x", "id": 1, "rstrip": True}]}, "only the plain form"),
    ],
)
def test_other_tokenizers_are_refused(tmp_path: Path, parts: Any, message: str) -> None:
    path = changed(trained(tmp_path / "tokenizer.json"), **parts)
    with pytest.raises(InputError) as caught:
        read_bpe(path)
    assert message in caught.value.message
    assert caught.value.hint


def test_damaged_tables_are_refused_or_harmless(program: Path, vocabulary: Path) -> None:
    made = bpe_tables(read_bpe(vocabulary), length=8, text_bytes=BYTES, id_bytes=8)
    texts = [NASTY.encode()[:BYTES], CORPUS[0].encode()[:BYTES]]
    refused = tokenizer_c.refused_of_damaged(program, made, 4 * len(FIELDS), bpe_fault_of, texts)
    assert 20 < refused < 90


def test_bytes_are_called_as_gpt2_calls_them() -> None:
    names = byte_names()
    assert (names[ord(" ")], names[ord("\n")], names[ord("a")], names[0xAD]) == ("Ġ", "Ċ", "a", "Ń")
    assert len({*names}) == 256
