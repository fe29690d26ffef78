"""What `tokenizers` takes for letters, numbers and spaces, asked one by one: `gpt2_unicode.txt`."""

from tests.models.text.unicode_facts import characters, ranges, wrapped

HEAD = """\
# What Hugging Face's `tokenizers` {version} takes for letters, numbers and spaces where it cuts
# text into words as GPT-2 does: ByteLevel. Made by tests/models/text/test_bpe.py.
#
# A line is a kind, then ranges of characters in hexadecimal.
"""


def text() -> str:
    """The whole file."""
    import tokenizers
    from tokenizers.pre_tokenizers import ByteLevel

    cut = ByteLevel(add_prefix_space=False).pre_tokenize_str
    kinds: dict[str, list[str]] = {"letter": [], "number": [], "space": []}
    for c in characters():
        if len(cut(f"a{c}a")) == 1:
            kinds["letter"].append(c)
        elif len(cut(f"1{c}1")) == 1:
            kinds["number"].append(c)
        elif len(cut(f"!{c}!")) != 1:
            kinds["space"].append(c)
    lines = [HEAD.format(version=tokenizers.__version__)]
    for kind, found in kinds.items():
        lines += wrapped(kind, ranges(found))
    return "".join(lines)
