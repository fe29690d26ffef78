"""Texts as numbers of tokens: lines of a file, and a column of a table.

`lines.txt?vocabulary=vocab.txt&length=128` has no labels; `reviews.csv?text=review&target=stars&…`
does. What they fill are the inputs of a network of BERT's or of GPT-2's kind.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.limits import DATA
from edgekiln.models.data.options import Options
from edgekiln.models.text.bpe_tokens import BpeTokenizer
from edgekiln.models.text.bpe_vocabulary import is_byte_pair
from edgekiln.models.text.ready_tables import TableSizes, byte_pair_tables, wordpiece_tables
from edgekiln.models.text.tokens import Tokenizer
from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.home import expanded
from edgekiln.runtime.limits import read_file
from edgekiln.runtime.texts import TEXT_SUFFIX, lines_of

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def fits(path: Path) -> bool:
    """Whether this is a file of lines, by its name."""
    return path.suffix.lower() == TEXT_SUFFIX and path.is_file()


def read_lines(path: Path, options: Options) -> dict[str, NDArray[np.int64]]:
    """The tokens of each line that is not empty. Raises ConfigError, InputError."""
    content = read_file(path, DATA, hint="give UTF-8 text, a sample a line")
    try:
        lines = [line.decode() for line in lines_of(content)]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text: {error}", "save it as UTF-8") from error
    found = [line for line in lines if line.strip()]
    if not found:
        raise InputError(f"{path}: holds no text", hint="give a sample a line")
    return tokenized(str(path), found, options)


def tokenized(where: str, texts: Sequence[str], options: Options) -> dict[str, NDArray[np.int64]]:
    """Numbers, masks and types, (N, length) each, by the names of a network's inputs.

    Raises:
        ConfigError: nothing says by which vocabulary, or how many tokens there shall be.
        InputError: the vocabulary cannot be read.
    """
    if not options.vocabulary or options.length is None:
        raise ConfigError(
            f"{where}: nothing says what tokens its texts are",
            hint="say it, as the network takes them: ?vocabulary=vocab.txt&length=128",
        )
    path = expanded(options.vocabulary)
    byte_pair = is_byte_pair(path)
    names = options.inputs or (INPUTS[:2] if byte_pair else INPUTS)
    if len(names) > len(INPUTS):
        raise ConfigError(
            f"{where}: inputs={','.join(names)} are more than numbers, mask and types",
            hint=f"name up to three, in this order: {','.join(INPUTS)}",
        )
    encoded = [text.encode(errors="ignore").replace(b"\0", b"") for text in texts]
    longest = max(1, *map(len, encoded))
    sizes = TableSizes(length=options.length, text_bytes=longest, id_bytes=8)
    if byte_pair:
        if options.lower is not None:
            raise ConfigError(f"{where}: lower= is of WordPiece", hint="leave it out")
        made, _, pad = byte_pair_tables(path, None, {}, sizes)
        if pad is None:
            raise InputError(
                f"{path}: does not say what fills up behind a text",
                hint="give a tokenizer.json with padding, or with a token <pad>",
            )
        found = BpeTokenizer(made)(encoded)
    else:
        made, _ = wordpiece_tables(path, options.lower, sizes)
        found = Tokenizer(made)(encoded)
    ids, mask = (array.astype(np.int64) for array in found)
    return dict(zip(names, (ids, mask, np.zeros_like(ids)), strict=False))
