"""A hash of the code that makes an artifact, so that a change of the code is a change of the key.

The fingerprint of a module is a hash over its import closure: the module, every module of this
project that it imports, wherever in the file, and so on; and the data files that they read. What
cannot change a result does not count: comments, docstrings and formatting, for syntax trees are
hashed and not texts; imports under TYPE_CHECKING; other people's packages, whose versions a stage
names in `tools`.

Three things in a module lead to others:

    import edgekiln.x, from edgekiln.x import y        the module, and the packages it lies in
    from .x import y, from . import x                  the same, from the module's own package
    "edgekiln.x" and "edgekiln.x:name" as constants    modules that are imported by their names
    files("edgekiln.x") / "c"                          all data files in that folder

A factory of the zoo is not among them: a stage names the one that made its module in `uses`, so a
new network retrains none of the others.

So data that a stage reads is read by `importlib.resources.files` and the package's name. The
profiles and the tuning files of targets and the zoo's recipes are read otherwise, for they are part
of keys already, as what was read from them.
"""

import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path

from edgekiln.compiler.pipeline.atomic_io import default_root
from edgekiln.compiler.pipeline.object_cache import ObjectCache
from edgekiln.compiler.pipeline.parsed_before import parsed_before
from edgekiln.compiler.pipeline.source_file import Parsed, parse

ROOTS = ("edgekiln.compiler", "edgekiln.models", "edgekiln.runtime", "edgekiln.targets")


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where packages lie: package → folder, or module → file; and who reads their files."""

    roots: Mapping[str, Path]
    parse: Callable[[bytes], Parsed] = parse

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
        met: set[tuple[str, bool]] = set()  # most names are imported many times
        waiting = [(module, True) for module in modules]
        while waiting:
            module, is_called = waiting.pop()
            if (module, is_called) in met:
                continue
            met.add((module, is_called))
            path = self.file_of(module) or (_loaded_from(module) if module in modules else None)
            package, _, _ = module.rpartition(".")
            if path is None:  # a name in a module, or none of this project's
                waiting += [(package, True)] if self.file_of(package) else []
                continue
            if module in called or (module in found and not is_called):
                continue
            found[module] = path
            parsed = self.parse(path.read_bytes())
            home = module if path.name == "__init__.py" else package
            waiting += [(package, False), *((_full(n, home), True) for n in parsed.at_import)]
            if is_called:
                called.add(module)
                waiting += [(_full(name, home), True) for name in parsed.when_called]
                for where, *parts in parsed.data:
                    found |= self._data_files(where, parts)
        return dict(sorted(found.items()))

    def fingerprint(self, *modules: str) -> str:
        """The hash over the closure of `modules`; the same wherever the packages lie."""
        digest = hashlib.sha256()
        for name, path in self.closure(*modules).items():
            content = path.read_bytes()
            is_code = path.suffix == ".py"
            of_file = self.parse(content).digest if is_code else hashlib.sha256(content).hexdigest()
            digest.update(f"{name}\0{of_file}".encode())
        return digest.hexdigest()

    def foreign(self, *modules: str) -> set[str]:
        """The top-level packages that the closure of `modules` imports and that lie elsewhere."""
        found: set[str] = set()
        for path in self.closure(*modules).values():
            if path.suffix == ".py":
                parsed = self.parse(path.read_bytes())
                found |= {name.partition(".")[0] for name in parsed.at_import + parsed.when_called}
        return found - {name.partition(".")[0] for name in self.roots} - {""}

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
    roots = {name: Path(next(iter(import_module(name).__path__))).resolve() for name in ROOTS}
    return Sources(roots=roots)


@cache
def code_sha256(*modules: str) -> str:
    """The fingerprint of what runs now, computed once a process.

    Parsing the files takes a third of a second, so what they said is kept in the store.
    """
    with parsed_before(ObjectCache(root=default_root() / "compiled")) as recall:
        return replace(installed(), parse=recall).fingerprint(*modules)


def _full(name: str, package: str) -> str:
    """The name of what a module in `package` imports: "..x" in "a.b" is "a.x"."""
    bare = name.lstrip(".")
    # One dot is the package itself, each further one a package above.
    above = package.split(".")[: len(package.split(".")) - (len(name) - len(bare)) + 1]
    return bare if bare == name else ".".join((*above, bare))


def _loaded_from(module: str) -> Path | None:
    """The file of a stage that somebody else defines, if it has one."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file) if file else None
