"""Unicode as GPT-2's tokenizer sees it: letters, numbers and spaces, by a table of facts.

The facts are those of Hugging Face's `tokenizers`, and so they do not depend on the Python that
builds.
"""

from functools import cache
from importlib.resources import files

from edgekiln.models.text.bpe_format import LETTER, NUMBER, OTHER, SPACE

_FACTS = "gpt2_unicode.txt"
_CLASSES = {"letter": LETTER, "number": NUMBER, "space": SPACE}


@cache
def bounds() -> tuple[tuple[int, int], ...]:
    """Where another class begins, and which; before the first one all are `OTHER`."""
    text = (files("edgekiln.models.text") / _FACTS).read_text(encoding="ascii")
    ranges = []
    for line in text.splitlines():
        kind, *words = line.split()
        for word in words if kind != "#" else ():
            first, _, last = word.partition("-")
            ranges.append((int(first, 16), int(last or first, 16) + 1, _CLASSES[kind]))
    found: list[tuple[int, int]] = []
    for start, stop, number in sorted(ranges):
        if found and found[-1] == (start, OTHER):
            found.pop()
        found += [(start, number), (stop, OTHER)]
    return tuple(found)
