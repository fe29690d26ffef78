"""The tables of a byte-level BPE tokenizer, of a vocabulary and of Unicode; see `bpe_format`."""

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.text.bpe_format import FIELDS, MAGIC, NONE
from edgekiln.models.text.bpe_vocabulary import BpeVocabulary, byte_names
from edgekiln.models.text.gpt2_unicode import bounds
from edgekiln.models.text.table_content import TableContent


def bpe_tables(
    vocabulary: BpeVocabulary, *, length: int, text_bytes: int, id_bytes: int
) -> NDArray[np.uint8]:
    """The tokenizer of texts of at most `text_bytes` that gives `length` numbers of `id_bytes`.

    Equal vocabularies give equal bytes.
    """
    content, tokens = TableContent(names=FIELDS), vocabulary.tokens
    merges = _merges(vocabulary)
    count = max(tokens.values()) + 1
    wide = max(count, len(merges)) > 1 << 16
    kind = "<u4" if wide else "<u2"
    content.fields |= {
        "magic": MAGIC, "text_bytes": text_bytes, "length": length, "id_bytes": id_bytes,
        "before": NONE if vocabulary.before is None else vocabulary.before,
        "after": NONE if vocabulary.after is None else vocabulary.after, "pad": vocabulary.pad or 0,
        "special_count": len(vocabulary.specials), "token_count": count, "wide": int(wide),
        "bound_count": len(bounds()),
    }  # fmt: skip
    entries = [
        (each.number, len(name.encode()), content.add("", name.encode()), int(each.takes_spaces))
        for name, each in vocabulary.specials.items()
    ]
    content.add("specials", np.array(entries, "<u4"))
    content.add("bytes", np.array([tokens[name] for name in byte_names()], kind))
    firsts = np.searchsorted(merges[:, 0], np.arange(count + 1))
    content.add("firsts", firsts.astype("<u4"))
    for column, name in enumerate(("rights", "ranks", "made"), start=1):
        content.add(name, merges[:, column].astype(kind))
    content.add("bounds", np.array([c << 2 | each for c, each in bounds()], "<u4"))
    return content.array()


def _merges(vocabulary: BpeVocabulary) -> NDArray[np.int64]:
    """(merges, 4): left, right, rank and result, by the first two. Of a pair that stands there
    twice the last one counts, as `tokenizers` has it.
    """
    tokens = vocabulary.tokens
    found = {
        (tokens[left], tokens[right]): (rank, tokens[left + right])
        for rank, (left, right) in enumerate(vocabulary.merges)
    }
    rows = [(*pair, *result) for pair, result in sorted(found.items())]
    return np.array(rows, np.int64).reshape(-1, 4)
