"""The code of what a user names, `package.module:factory`, as keys have it.

Nothing here imports or calls what is named: sources are found and read, not run. What this process
has imported already is what will run, whatever the files are by now: its code stays what it was.
"""

import sys
import sysconfig
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from edgekiln.compiler.pipeline.fingerprint import Sources, code_sha256, installed
from edgekiln.compiler.pipeline.key_checks import hashed
from edgekiln.runtime.codec import digest

_before_import: dict[str, str] = {}  # module of a user's → its code when it was looked at last


def factory_code(name: str) -> str:
    """The code of a zoo entry's or `package.module:factory`'s module and of what it imports.

    Of what is installed the version counts, also of what the user's own modules import; "" when
    nothing of that name is found. Data files count that are read by `importlib.resources.files`,
    and files that arguments name, as in `net?weights=net.pt`.
    """
    code = _code(name)
    named = (item.partition("=")[2] for item in name.partition("?")[2].split("&"))
    # Who reads what is no file will say what is wrong.
    files = [hashed(Path(path)) for path in named if path and Path(path).is_file()]
    return digest([code, *files]) if files else code


def _code(name: str) -> str:
    from edgekiln.models.zoo.entries import ENTRIES

    # Behind "?" are arguments for the factory, which are no code.
    base = name.partition("?")[0]
    if base in ENTRIES:
        base = ENTRIES[base].factory
    module = base.partition(":")[0]
    top = module.partition(".")[0]
    # Ours, then the user's own, then what is installed.
    if installed().file_of(module):
        return code_sha256(module)
    own = _users_modules(top)
    if top not in own.roots:
        return _installed_version(top)
    if module not in sys.modules or module not in _before_import:
        _before_import[module] = _code_of(module, own)
    return _before_import[module]


def _code_of(module: str, own: Sources) -> str:
    code = own.fingerprint(module)
    foreign = own.foreign(module) - sys.stdlib_module_names
    versions = [version for each in sorted(foreign) if (version := _installed_version(each))]
    return digest([code, *versions]) if versions else code


def _users_modules(top: str) -> Sources:
    """Modules that lie where the tool was started, or on Python's path but not among what is
    installed there; `top`, wherever else it lies; and ours.
    """
    roots: dict[str, Path] = {}
    for folder in (Path.cwd(), *map(Path, sys.path)):
        if not _is_installed(folder):
            roots = _importable(folder) | roots
    if top not in roots and (found := find_spec(top)):  # of a top-level name: nothing is run
        for place in found.submodule_search_locations or filter(None, [found.origin]):
            if Path(place).exists() and not _is_installed(Path(place)):
                roots[top] = Path(place)
    return Sources(roots={**roots, **installed().roots})


def _importable(folder: Path) -> dict[str, Path]:
    try:
        beside = sorted(folder.iterdir())
    except OSError:  # a directory that is gone, or may not be read; or an archive
        return {}
    names = {path: path.name if path.is_dir() else path.name.removesuffix(".py") for path in beside}
    return {
        name: path
        for path, name in names.items()
        if name.isidentifier() and (path.suffix == ".py" or path.is_dir())
    }


def _is_installed(place: Path) -> bool:
    """Whether it is Python's own, or of a distribution whose version says what it is."""
    paths = sysconfig.get_paths()
    ours = [Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    return any(place.resolve().is_relative_to(each) for each in ours) or place.name in (
        "site-packages",
        "dist-packages",
    )


@cache
def _installed_version(top: str) -> str:
    names = _distributions().get(top, [])
    return ", ".join(f"{name} {metadata.version(name)}" for name in sorted(set(names)))


@cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()
