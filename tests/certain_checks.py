"""Which tests may pass without having checked anything, by their syntax trees.

A check is an `assert`, a `with pytest.raises(…)`, a call of something that raises when it finds a
difference (its name says so, or it is a helper of the tests that checks), or a subprocess that
must end well. It is certain when no `if`, `except` or loop that may be empty stands before it.
`assert all(…)` of what may be empty and `assert … or True` are no checks.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests import source_tree

# How names begin of what raises when it finds a difference: numpy.testing.assert_array_equal,
# jsonschema.validate, subprocess.check_output, …
_CHECKING = ("assert_", "check", "validate", "require")
_EXPECTING = ("raises", "warns")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def tests_of(path: Path) -> Iterator[ast.FunctionDef]:
    """The tests of a file."""
    for node in ast.walk(source_tree.tree(path)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node


def is_certain(test: Function, path: Path) -> bool:
    """Whether a test of the file at `path` cannot end without a check."""
    return _Reader(path, frozenset()).certain(test.body)


def compared_with_themselves(path: Path) -> Iterator[ast.Compare]:
    """Comparisons in a file of one name, attribute or constant with itself.

    Two calls that look alike may well differ: that is what tests of determinism compare.
    """
    for node in ast.walk(source_tree.tree(path)):
        if isinstance(node, ast.Compare) and len(node.comparators) == 1:
            same = ast.dump(node.left) == ast.dump(node.comparators[0])
            calls = any(isinstance(part, ast.Call) for part in ast.walk(node.left))
            if same and not calls:
                yield node


def taking_any_error(path: Path) -> Iterator[ast.Call]:
    """Expectations in a file that every error fulfils, also one of the test itself."""
    for node in ast.walk(source_tree.tree(path)):
        if isinstance(node, ast.Call) and _name(node) == "raises" and node.args:
            kinds = {part.id for part in ast.walk(node.args[0]) if isinstance(part, ast.Name)}
            if kinds & {"Exception", "BaseException"}:
                yield node


class _Reader:
    """Reads the functions of one file; `seen` are the helpers it is inside of."""

    def __init__(self, path: Path, seen: frozenset[str]) -> None:
        self.path = path
        self.seen = seen

    def certain(self, body: list[ast.stmt]) -> bool:
        """Whether one of the statements checks, whatever happens."""
        full = {
            target.id
            for statement in body
            if isinstance(statement, ast.Assign) and _is_full(statement.value, frozenset())
            for target in statement.targets
            if isinstance(target, ast.Name)
        }
        return any(self._statement(statement, frozenset(full)) for statement in body)

    def _statement(self, node: ast.stmt, full: frozenset[str]) -> bool:  # noqa: PLR0911 a kind each
        match node:
            case ast.Assert(test=test):
                return not _may_be_empty(test, full)
            case ast.With(items=items, body=body):
                return any(map(self._expects, items)) or self.certain(body)
            case ast.For(iter=over, body=body):
                return _is_full(over, full) and self.certain(body)
            case ast.If(body=body, orelse=orelse):
                return self.certain(body) and self.certain(orelse)
            case ast.Try(body=body, finalbody=finalbody):
                return self.certain(body) or self.certain(finalbody)
            case ast.While() | ast.FunctionDef() | ast.ClassDef():
                return False
        return any(self._call(part) for part in ast.walk(node) if isinstance(part, ast.Call))

    def _expects(self, item: ast.withitem) -> bool:
        call = item.context_expr
        return isinstance(call, ast.Call) and (_name(call) in _EXPECTING or self._call(call))

    def _call(self, call: ast.Call) -> bool:
        name = _name(call)
        if name.startswith(_CHECKING) or name in ("fail", "skip"):
            return True
        if name == "run" and any(_is_true(word) for word in call.keywords if word.arg == "check"):
            return True
        if not isinstance(call.func, ast.Name) or name in self.seen:
            return False
        found = helpers(self.path).get(name)
        if found is None:
            return False
        home, helper = found
        return _Reader(home, self.seen | {name}).certain(helper.body)


@cache
def helpers(path: Path) -> dict[str, tuple[Path, Function]]:
    """The functions that a file of the tests defines or imports from another one, by name."""
    found: dict[str, tuple[Path, Function]] = {}
    for node in source_tree.tree(path).body:
        match node:
            case ast.FunctionDef(name=name):
                found[name] = (path, node)
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("tests."):
                home = source_tree.ROOT.joinpath(*module.split(".")).with_suffix(".py")
                theirs = helpers(home) if home.is_file() else {}
                found |= {
                    alias.asname or alias.name: theirs[alias.name]
                    for alias in names
                    if alias.name in theirs
                }
    return found


def _name(call: ast.Call) -> str:
    """The last part of what is called."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _is_true(word: ast.keyword) -> bool:
    return isinstance(word.value, ast.Constant) and word.value.value is True


def _may_be_empty(test: ast.expr, full: frozenset[str]) -> bool:
    """Whether what is asserted holds of nothing: all of an iterable that may have no item."""
    match test:
        case ast.Constant(value=value):
            return bool(value)
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(_may_be_empty(value, full) for value in values)
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_may_be_empty(value, full) for value in values)
        case (
            ast.Call(func=ast.Name(id="all"), args=[over])
            | ast.UnaryOp(op=ast.Not(), operand=ast.Call(func=ast.Name(id="any"), args=[over]))
        ):
            if isinstance(over, ast.GeneratorExp | ast.ListComp):
                each = over.generators
                return any(one.ifs or not _is_full(one.iter, full) for one in each)
            return not _is_full(over, full)
    return False


def _is_full(node: ast.expr, full: frozenset[str]) -> bool:  # noqa: PLR0911 a kind each
    """Whether an iterable has an item for certain: a literal, or one of the names in `full`."""
    match node:
        case ast.Tuple(elts=elts) | ast.List(elts=elts) | ast.Set(elts=elts):
            return any(not isinstance(one, ast.Starred) for one in elts)
        case ast.Dict(keys=keys):
            return bool(keys)
        case ast.Constant(value=value):
            return isinstance(value, str | bytes) and bool(value)
        case ast.Name(id=name):
            return name in full
        case ast.Call(func=ast.Name(id="range"), args=args):
            return all(isinstance(one, ast.Constant) for one in args)
        case ast.Call(func=ast.Name(id="enumerate" | "sorted" | "reversed"), args=[first, *_]):
            return _is_full(first, full)
        case ast.Call(func=ast.Name(id="zip"), args=args):  # strict: one full, all full
            return any(_is_full(one, full) for one in args)
        case ast.Call(func=ast.Attribute(value=inner, attr="items" | "values" | "keys")):
            return _is_full(inner, full)
    return False
