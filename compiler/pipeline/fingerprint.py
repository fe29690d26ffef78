"""The identity of our own code generator, which can change a program's bytes like any option."""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType

import edgekiln.compiler
import edgekiln.runtime
import edgekiln.targets

# What turns an int8 model into a program, below the rooms' directories.
_COMPILER = (
    "ir", "passes", "kernels", "lowering", "aot",
    "tuning/table.py",
)  # fmt: skip
_SUFFIXES = {".py", ".c", ".h", ".S", ".ld"}


@cache
def generator_sha256() -> str:
    """Hash of the sources that make programs: a change in them compiles anew, without a version."""
    roots = [_room(edgekiln.compiler) / name for name in _COMPILER]
    return _sources_sha256([*roots, _room(edgekiln.targets) / "isa", _room(edgekiln.runtime) / "c"])


@cache
def kernels_sha256() -> str:
    """Hash of the sources that make machine code of a kernel's signature."""
    compiler = _room(edgekiln.compiler)
    kernels = [compiler / "kernels", compiler / "aot" / "codegen.py"]
    return _sources_sha256([*kernels, _room(edgekiln.targets) / "isa"])


def _room(package: ModuleType) -> Path:
    return Path(next(iter(package.__path__)))


def _sources_sha256(roots: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for root in roots:
        # In an order that does not depend on where the packages lie.
        for path in [root] if root.is_file() else sorted(root.rglob("*")):
            if path.suffix in _SUFFIXES:
                digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
