"""What one source file says: a hash of its code, and what the code leads to."""

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

_NAMED = re.compile(r"(?!edgekiln\.models\.zoo\.)(?P<module>edgekiln(\.\w+){2,})(:[\w.]+)?")
# Of a node's fields, those that say nothing: the context follows from the place, the rest is
# for type checkers or differs between versions of Python.
_SILENT = frozenset({"ctx", "kind", "type_comment", "type_ignores", "type_params"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_LEADING = (ast.Import, ast.ImportFrom, ast.Constant, ast.BinOp, ast.Call)


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """What one source file says: the hash of its code, and what the code leads to."""

    digest: str
    # Names: of modules, or of what is in them, as "a.b" of `from a import b`; with leading dots as
    # they stand there, for whose module this is a file does not know.
    at_import: tuple[str, ...]
    when_called: tuple[str, ...]  # the same, of imports in functions and names in constants
    data: tuple[tuple[str, ...], ...]  # package, and the path below its folder


@cache
def parse(source: bytes) -> Parsed:
    """A file that is no Python is hashed as it is, and leads nowhere."""
    reader = _Reader()
    try:
        reader.read(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError):
        return Parsed(digest=_sha256(source), at_import=(), when_called=(), data=())
    return Parsed(
        digest=_sha256("".join(reader.text).encode("utf-8", "surrogatepass")),
        at_import=tuple(sorted(reader.at_import)),
        when_called=tuple(sorted(reader.when_called)),
        data=tuple(sorted(reader.data)),
    )


class _Reader:
    """One walk over a syntax tree: its canonical text, and what it leads to.

    The text is our own and not `ast.dump`'s, which differs between versions of Python.
    """

    def __init__(self) -> None:
        self.text: list[str] = []
        self.at_import: set[str] = set()
        self.when_called: set[str] = set()
        self.data: set[tuple[str, ...]] = set()
        self._typing_only = False
        self._functions = 0  # how many definitions we are inside of

    def read(self, node: ast.AST) -> None:
        kind = type(node)
        self.text.append(kind.__name__)
        if kind in _LEADING:
            self._note(node)
        is_function = kind in _FUNCTIONS
        self._functions += is_function
        for name in _fields(kind):  # type: ignore[arg-type]  # classes are hashable
            value = getattr(node, name, None)
            if name == "body" and isinstance(value, list):
                if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False):
                    value = value[1:]
                # A class of a docstring alone is an empty class.
                value = [item for item in value if type(item) is not ast.Pass]
            if value is None or value == []:
                continue
            self.text.append(name)
            if name == "body" and isinstance(node, ast.If) and _is_type_checking(node.test):
                outer, self._typing_only = self._typing_only, True
                self._value(value)
                self._typing_only = outer
            else:
                self._value(value)
        self._functions -= is_function
        self.text.append(")")

    def _value(self, value: object) -> None:
        if isinstance(value, ast.AST):
            self.read(value)
        elif isinstance(value, list):
            for item in value:
                self._value(item)
            self.text.append("]")
        else:
            self.text.append(repr(value))

    def _note(self, node: ast.AST) -> None:
        """Keep what this node, without those below it, leads to."""
        match node:
            case ast.Import(names=names):
                self._lead(alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = "." * level + (f"{module}." if module else "")
                self._lead(base + alias.name for alias in names)
            case ast.Constant(value=str(text)):
                if named := _NAMED.fullmatch(text):
                    self.when_called.add(named["module"])
            case ast.BinOp() | ast.Call():
                # The longest path is met first, and stands for the shorter ones inside it.
                place = _data_place(node)
                if place and not any(kept[: len(place)] == place for kept in self.data):
                    self.data.add(place)

    def _lead(self, names: Iterator[str]) -> None:
        if not self._typing_only:
            (self.when_called if self._functions else self.at_import).update(names)


@cache
def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    return tuple(name for name in kind._fields if name not in _SILENT)


def _data_place(node: ast.AST) -> tuple[str, ...] | None:
    """`files("package") / "a" / "b"` → ("package", "a", "b"); None for anything else."""
    match node:
        case ast.Call(
            func=ast.Name(id="files") | ast.Attribute(attr="files"),
            args=[ast.Constant(value=str(package))],
        ):
            return (package,)
        case ast.BinOp(left=left, op=ast.Div(), right=ast.Constant(value=str(part))):
            before = _data_place(left)
            return (*before, part) if before else None
    return None


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
