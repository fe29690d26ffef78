"""A hash of the code that makes an artifact, so that a change of the code is a change of the key.

The fingerprint of a module is a hash over its import closure: the module, every module of this
project that it imports, wherever in the file, and so on; and the data files that they read. What
cannot change a result does not count: comments, docstrings and formatting, for syntax trees are
hashed and not texts; imports under TYPE_CHECKING; other people's packages, whose versions a stage
names in `tools`.

Three things in a module lead to others:

    import edgekiln.x, from edgekiln.x import y        the module, and the packages it lies in
    "edgekiln.x" and "edgekiln.x:name" as constants    modules that are imported by their names
    files("edgekiln.x") / "c"                          all data files in that folder

A factory of the zoo is not among them: a stage names the one that made its module in `uses`, so a
new network retrains none of the others.

So data that a stage reads is read by `importlib.resources.files` and the package's name. The
profiles and the tuning files of targets and the zoo's recipes are read otherwise, for they are part
of keys already, as what was read from them.
"""

import ast
import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

ROOTS = ("edgekiln.compiler", "edgekiln.models", "edgekiln.runtime", "edgekiln.targets")

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

    digest: bytes
    at_import: frozenset[str]  # names: of modules, or of what is in them, as "a.b" of `from a`
    when_called: frozenset[str]  # the same, of imports in functions and names in constants
    data: frozenset[tuple[str, ...]]  # package, and the path below its folder


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where packages lie: package → folder, or module → file."""

    roots: Mapping[str, Path]

    def file_of(self, module: str) -> Path | None:
        """The source of a module or package; None if it is none of these."""
        names = module.split(".")
        for count in (1, 2):  # a root is "package" or "edgekiln.package"
            if folder := self.roots.get(".".join(names[:count])):
                return _source(folder, *names[count:])
        return None

    def closure(self, *modules: str) -> Mapping[str, Path]:
        """The modules and all that they import, data files included: name → file.

        A package that only lies on the way to a module is run and not called: what its functions
        import does not count.
        """
        found: dict[str, Path] = {}
        called: set[str] = set()
        waiting = [(module, True) for module in modules]
        while waiting:
            module, is_called = waiting.pop()
            path = self.file_of(module) or (_loaded_from(module) if module in modules else None)
            package, _, _ = module.rpartition(".")
            if path is None:  # a name in a module, or none of this project's
                waiting += [(package, True)] if self.file_of(package) else []
                continue
            if module in called or (module in found and not is_called):
                continue
            found[module] = path
            parsed = parse(path.read_bytes())
            waiting += [(package, False), *((name, True) for name in parsed.at_import)]
            if is_called:
                called.add(module)
                waiting += [(name, True) for name in parsed.when_called]
                for home, *parts in parsed.data:
                    found |= self._data_files(home, parts)
        return dict(sorted(found.items()))

    def fingerprint(self, *modules: str) -> str:
        """The hash over the closure of `modules`; the same wherever the packages lie."""
        digest = hashlib.sha256()
        for name, path in self.closure(*modules).items():
            content = path.read_bytes()
            of_file = parse(content).digest if path.suffix == ".py" else _sha256(content)
            digest.update(name.encode() + b"\0" + of_file)
        return digest.hexdigest()

    def _data_files(self, package: str, parts: list[str]) -> dict[str, Path]:
        init = self.file_of(package)
        if init is None:
            return {}
        home = init.parent
        return {
            f"{package}/{path.relative_to(home).as_posix()}": path
            for path in home.joinpath(*parts).rglob("*")
            if path.is_file() and path.suffix not in (".py", ".pyc", ".typed")
        }


@cache
def _source(folder: Path, *names: str) -> Path | None:
    base = folder.joinpath(*names)
    candidates = (base / "__init__.py", base.parent / f"{base.name}.py", base)
    return next((path for path in candidates if path.is_file()), None)


@cache
def installed() -> Sources:
    """The packages that run now."""
    return Sources(
        roots={name: Path(next(iter(import_module(name).__path__))).resolve() for name in ROOTS}
    )


@cache
def code_sha256(*modules: str) -> str:
    """The fingerprint of what runs now, computed once a process."""
    return installed().fingerprint(*modules)


@cache
def parse(source: bytes) -> Parsed:
    """A file that is no Python is hashed as it is, and leads nowhere."""
    reader = _Reader()
    try:
        reader.read(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError):
        return Parsed(
            digest=_sha256(source), at_import=frozenset(), when_called=frozenset(), data=frozenset()
        )
    return Parsed(
        digest=_sha256("".join(reader.text).encode("utf-8", "surrogatepass")),
        at_import=frozenset(reader.at_import),
        when_called=frozenset(reader.when_called),
        data=frozenset(reader.data),
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
            case ast.ImportFrom(module=str(module), names=names):
                self._lead(f"{module}.{alias.name}" for alias in names)
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


def _loaded_from(module: str) -> Path | None:
    """The file of a stage that somebody else defines, if it has one."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file) if file else None


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
