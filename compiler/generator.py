"""The identity of our own code generator, which can change a program's bytes like any option."""

import hashlib
from functools import cache
from pathlib import Path

import edgekiln.compiler
import edgekiln.runtime
import edgekiln.targets

# What turns an int8 model into a program, below the rooms' directories.
_COMPILER = ("frontend.py", "graph.py", "program.py", "passes", "kernels", "lowering", "aot")
_SUFFIXES = {".py", ".c", ".h", ".S"}


@cache
def generator_sha256() -> str:
    """Hash of the sources that make programs: a change in them compiles anew, without a version."""
    compiler, targets, runtime = (
        Path(next(iter(package.__path__)))
        for package in (edgekiln.compiler, edgekiln.targets, edgekiln.runtime)
    )
    roots = [*(compiler / name for name in _COMPILER), targets / "isa", runtime / "c"]
    digest = hashlib.sha256()
    for root in roots:
        # In an order that does not depend on where the packages lie.
        for path in [root] if root.is_file() else sorted(root.rglob("*")):
            if path.suffix in _SUFFIXES:
                digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
