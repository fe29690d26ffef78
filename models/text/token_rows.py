"""Rows of tokens, of which a tokenizer makes the numbers."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def ids_dtype(fields: Mapping[str, int]) -> "np.dtype[np.signedinteger]":
    """The type of a tokenizer's numbers, by the `id_bytes` of its tables' header."""
    return np.dtype(np.int64 if fields["id_bytes"] == 8 else np.int32)


def token_rows(
    texts: "NDArray[np.uint8] | Sequence[bytes]",
    numbers: Callable[[bytes], list[int]],
    fields: Mapping[str, int],
) -> tuple[NDArray[np.signedinteger], NDArray[np.signedinteger]]:
    """Numbers and masks, (N, length) each, of texts that end with a byte of zero or as their row
    does.

    Args:
        texts: UTF-8.
        numbers: the tokens of one text, with those around it.
        fields: of the tables' header: length, text_bytes, id_bytes and pad.
    """
    ids = np.full((len(texts), fields["length"]), fields["pad"], ids_dtype(fields))
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        found = numbers(bytes(text).split(b"\0")[0][: fields["text_bytes"]])
        ids[row, : len(found)] = found
        mask[row, : len(found)] = 1
    return ids, mask
