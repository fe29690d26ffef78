"""What the comments of a dataclass say of its fields, for the descriptions in schemas."""

import ast
import inspect
import io
import textwrap
import tokenize
from dataclasses import is_dataclass


def comments_of(cls: type) -> dict[str, str]:
    """Field → its comment: behind it on the line, or else in the lines directly above it.

    Comments begin with a small letter where they go on from the name; here they are sentences.
    """
    found: dict[str, str] = {}
    # From the base on: what a derived class says of a field again takes the base's place.
    for each in reversed(cls.__mro__):
        if is_dataclass(each):
            found |= _own(each)
    return found


def _own(cls: type) -> dict[str, str]:
    # A class inside a function is indented, and would not parse.
    source = textwrap.dedent(inspect.getsource(cls))
    # `ast` has no comments, so the tokens are read beside it and matched by line.
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {
        token.start[0]: (token.start[1], token.string.removeprefix("#").strip())
        for token in tokens
        if token.type == tokenize.COMMENT
    }
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef), cls
    found = {}
    for node in definition.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = _behind(node, comments) or _above(node, comments)
            if text:
                found[node.target.id] = f"{text[0].upper()}{text[1:].rstrip('.')}."
    return found


def _behind(node: ast.AnnAssign, comments: dict[int, tuple[int, str]]) -> str:
    assert node.end_lineno is not None
    return comments.get(node.end_lineno, (0, ""))[1]


def _above(node: ast.AnnAssign, comments: dict[int, tuple[int, str]]) -> str:
    lines: list[str] = []
    number = node.lineno - 1
    while comments.get(number, (-1, ""))[0] == node.col_offset:  # a line of its own
        lines.insert(0, comments[number][1])
        number -= 1
    return " ".join(lines)
