"""The tokenizer in C under the address and undefined-behaviour sanitizers, and vocabularies for it.

Tables, texts and results lie in memory of exactly their size, so that any access outside is seen.
"""

import random
import subprocess
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.text.table_format import head_of

WORDS = """\
[PAD] [UNK] [CLS] [SEP] [MASK] a b e n u . , ! ? ' - ( ) [ ] the un ##aff ##able able run ##ning
##s ##a ##b ##e ##ing caf ##fe cafe \u00e9 ##\u00e9 \u4e2d \u4e2d\u6587 \u6587 \u1112 ##\u1161
##\u11ab \U0001f600 ##\U0001f600 \u03c3 ##\u03c3 \u0915 ##\u093f i ##\u0307 ##zz ##z z zz
\U0001d158 ##\U0001d165 ##\U0001d16e ##\u302e ##\u0301
""".split()
_MAIN = r"""
#include "KIND.h"
#include <stdio.h>
#include <stdlib.h>

static void *content(const char *path, long *size) {
    FILE *file = fopen(path, "rb");
    if (!file) abort();
    fseek(file, 0, SEEK_END);
    *size = ftell(file);
    rewind(file);
    void *data = malloc((size_t)*size);
    if (!data || fread(data, 1, (size_t)*size, file) != (size_t)*size) abort();
    fclose(file);
    return data;
}

/* tables, texts, length: numbers and masks on standard output. */
int main(int argc, char **argv) {
    if (argc != 5) return 1;
    long size, bytes;
    uint32_t *tables = content(argv[1], &size);
    void *texts = content(argv[2], &bytes);
    int rows = atoi(argv[3]);
    void *scratch = malloc(8 * (size_t)bytes);
    size_t result = (size_t)atol(argv[4]);
    void *ids = malloc(result), *mask = malloc(result);
    if (KIND_masked(texts, tables, ids, mask, MEMORY 0, rows)) return 2;
    fwrite(ids, 1, result, stdout);
    if (KIND(texts, tables, mask, MEMORY 0, 0)) return 2;
    fwrite(mask, 1, result, stdout);
    free(tables), free(texts), free(ids), free(mask), free(scratch);
    return 0;
}
"""


def build(home: Path, kind: str = "wordpiece") -> Path:
    """The executable of a tokenizer."""
    memory = "scratch," if kind == "bpe" else ""
    (home / "main.c").write_text(_MAIN.replace("KIND", kind).replace("MEMORY", memory))
    source = files("edgekiln.runtime") / "c"
    flags = "-std=c11 -g -O1 -Wall -Wextra -Wpedantic -Werror -fno-sanitize-recover=all".split()
    subprocess.run(
        ["gcc", *flags, "-fsanitize=address,undefined", f"-I{source}", "main.c",
         str(source / f"{kind}.c"), "-o", "tokenize"],
        cwd=home, check=True,
    )  # fmt: skip
    return home / "tokenize"


def run(
    program: Path, tables: NDArray[np.uint8], texts: Sequence[bytes]
) -> tuple[NDArray[np.signedinteger], NDArray[np.signedinteger]]:
    """Numbers and masks of texts, which are not longer than the tables say."""
    about = head_of(tables)
    rows = np.zeros((len(texts), about["text_bytes"]), np.uint8)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = np.frombuffer(text, np.uint8)
    tables.tofile(program.with_suffix(".tables"))
    rows.tofile(program.with_suffix(".texts"))
    dtype = np.dtype(np.int64 if about["id_bytes"] == 8 else np.int32)
    size = len(texts) * about["length"] * dtype.itemsize
    done = subprocess.run(
        [program, program.with_suffix(".tables"), program.with_suffix(".texts"), str(len(texts)),
         str(size)],
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    ids, mask = np.frombuffer(done.stdout, dtype).reshape(2, len(texts), -1)
    return ids, mask


def refused_of_damaged(
    program: Path,
    made: NDArray[np.uint8],
    header: int,
    fault_of: Callable[[NDArray[np.uint8]], str],
    texts: Sequence[bytes],
) -> int:
    """How many of 90 damaged copies of tables are refused; those that are not run without a fault.

    Args:
        header: bytes of it, which every second copy is damaged in.
        fault_of: what is wrong with tables; "" if nothing is.
    """
    draw, refused = random.Random(2), 0
    for case in range(90):
        damaged = made.copy()
        for _ in range(draw.randrange(1, 4)):
            damaged[draw.randrange(header if case % 2 else damaged.size)] = draw.randrange(256)
        if case % 7 == 0:
            damaged = damaged[: draw.randrange(damaged.size)]
        if fault_of(damaged):
            refused += 1
        else:
            about = np.frombuffer(damaged[:header].tobytes(), "<u4")
            if about[1] == head_of(made)["text_bytes"] and about[2] <= 64:
                run(program, damaged, texts)
    return refused


def write_vocabulary(path: Path, words: Sequence[str] = WORDS) -> Path:
    """A vocab.txt."""
    path.write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    return path
