"""The code of what a user names, `package.module:factory`, as keys have it.

Nothing here imports or calls what is named: sources are found and read, not run.
"""

from functools import cache
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

from edgekiln.compiler.pipeline.artifact import sha256_of
from edgekiln.compiler.pipeline.fingerprint import Sources, code_sha256, installed


def factory_code(name: str) -> str:
    """The code of a zoo entry's or `package.module:factory`'s module and of what it imports.

    Of what is installed the version counts; "" when nothing of that name is found.
    """
    from edgekiln.models.zoo.entries import ENTRIES

    # Behind "?" are arguments for the factory, which are no code.
    base = name.partition("?")[0]
    if base in ENTRIES:
        base = ENTRIES[base].factory
    module = base.partition(":")[0]
    top = module.partition(".")[0]
    # Ours, then the user's own where he stands, then what is installed.
    if installed().file_of(module):
        return code_sha256(module)
    beside = _working_directory()
    if top in beside.roots:
        return beside.fingerprint(module)
    return _installed_version(top)


def _working_directory() -> Sources:
    """The user's own modules, which lie where the tool was started, and ours."""
    try:
        beside = sorted(Path.cwd().iterdir())
    except OSError:  # a directory that is gone, or may not be read
        beside = []
    names = {path: path.name if path.is_dir() else path.name.removesuffix(".py") for path in beside}
    roots = {
        name: path
        for path, name in names.items()
        if name.isidentifier() and (path.suffix == ".py" or path.is_dir())
    }
    return Sources(roots={**roots, **installed().roots})


@cache
def _installed_version(top: str) -> str:
    names = metadata.packages_distributions().get(top, [])
    if names:
        return ", ".join(f"{name} {metadata.version(name)}" for name in sorted(set(names)))
    # A module of no distribution, such as one on PYTHONPATH; found without being run.
    found = PathFinder.find_spec(top)
    return file_sha256(found.origin) if found and found.origin else ""


def file_sha256(path: str) -> str:
    """The hash of a file, and of the code that makes its module; "" where there is none."""
    if not Path(path).is_file():
        return ""  # who reads it will say what is wrong
    return sha256_of(Path(path))
