"""The project's own sources, parsed once: what the guards look at."""

import ast
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("compiler", "targets", "runtime", "models", "benchmarks")


@cache
def files(suffix: str = ".py") -> tuple[Path, ...]:
    """Every file with a suffix that git knows or would add, below `ROOT`.

    Git is asked, so that environments and caches beside the sources do not count.
    """
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", f"*{suffix}"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file())


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def shipped() -> tuple[Path, ...]:
    """The files that are installed: those of the rooms."""
    return tuple(path for path in files() if path.relative_to(ROOT).parts[0] in ROOMS)


def module_of(path: Path) -> str:
    """The name under which a shipped file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("edgekiln", *(parts[:-1] if parts[-1] == "__init__" else parts)))


@cache
def imports() -> Mapping[str, frozenset[str]]:
    """Each shipped module's imports of others, inside functions and under TYPE_CHECKING, too."""
    modules = {module_of(path): path for path in shipped()}
    return {
        name: frozenset(_imported(tree(path), frozenset(modules)) - {name})
        for name, path in modules.items()
    }


def _imported(parsed: ast.Module, modules: frozenset[str]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(parsed):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module), names=names):
                # A package is asked for its module: that executes the package, which may import it.
                found |= {module, *(f"{module}.{alias.name}" for alias in names)}
    return found & modules


def circles(graph: Mapping[str, frozenset[str]]) -> list[frozenset[str]]:
    """The groups of modules that import each other in a circle, the largest first.

    They are the strongly connected components of more than one module, found as Tarjan does
    ("Depth-first search and linear graph algorithms", 1972).
    """
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[frozenset[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in order:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == order[name]:
            at = stack.index(name)
            found.append(frozenset(stack[at:]))
            del stack[at:]

    for name in sorted(graph):
        if name not in order:
            visit(name)
    return sorted((one for one in found if len(one) > 1), key=lambda one: (-len(one), min(one)))
