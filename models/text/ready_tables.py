"""Files of vocabularies become the tables that a program has."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.text.bpe_tables import bpe_tables
from edgekiln.models.text.bpe_vocabulary import around, read_bpe
from edgekiln.models.text.tables import tables
from edgekiln.models.text.vocabulary import in_case, read_vocabulary

MadeTables = tuple[NDArray[np.uint8], frozenset[int]]  # and the numbers of all tokens


@dataclass(frozen=True, kw_only=True)
class TableSizes:
    """What tables are made for: tokens, bytes of a text, and bytes of a token's number."""

    length: int
    text_bytes: int
    id_bytes: int


def wordpiece_tables(path: Path, lower: bool | None, sizes: TableSizes) -> MadeTables:
    """Those of BERT's tokenizer. Raises InputError."""
    vocabulary = in_case(read_vocabulary(path), lower)
    numbers = {*vocabulary.tokens.values(), *vocabulary.specials.values()}
    made = tables(
        vocabulary, length=sizes.length, text_bytes=sizes.text_bytes, id_bytes=sizes.id_bytes
    )
    return made, frozenset(numbers)


def byte_pair_tables(
    path: Path, merges: Path | None, names: Mapping[str, str], sizes: TableSizes
) -> tuple[NDArray[np.uint8], frozenset[int], int | None]:
    """Those of GPT-2's tokenizer, the numbers of all tokens, and of the one that fills up, if there
    is one. Raises InputError.
    """
    vocabulary = around(path, read_bpe(path, merges), names)
    specials = {special.number for special in vocabulary.specials.values()}
    numbers = frozenset({*vocabulary.tokens.values(), *specials})
    made = bpe_tables(
        vocabulary, length=sizes.length, text_bytes=sizes.text_bytes, id_bytes=sizes.id_bytes
    )
    return made, numbers, vocabulary.pad
