"""The code that makes a module, as the keys of the stages have it that run the module."""

from collections.abc import Collection, Mapping
from pathlib import Path

from edgekiln.compiler.pipeline import key_checks
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.factory_code import factory_code


def data_of_module(src: Artifact | None) -> str:
    """The data set that a module names as its own; "" if it names none."""
    if src is None or src.kind != "module":
        return ""
    from edgekiln.models.artifact import read_meta
    from edgekiln.models.data.sample_factory import references_in

    data = src.read(read_meta).data
    # A stranger's file must not have functions called: those are named by the user himself.
    return "" if references_in(data) else data


def require_allowed_factory(src: Artifact | None, allow: Collection[str]) -> None:
    """Raise InputError where `src` is a module whose factory is neither of the zoo nor allowed."""
    if src is None or src.kind != "module":
        return
    from edgekiln.models.allowed_factories import require_allowed
    from edgekiln.models.artifact import read_meta

    require_allowed(src.path, src.read(read_meta).factory, allow)


def require_allowed_teachers(names: Collection[str], allow: Collection[str]) -> None:
    """Raise InputError where one of the teachers is a module file whose factory is not allowed."""
    from edgekiln.models.allowed_factories import require_allowed
    from edgekiln.models.artifact import read_meta

    for path in (Path(name) for name in names if Path(name).suffix == ".pt"):
        require_allowed(path, read_meta(path).factory, allow)


def used_factory(src: Artifact | None) -> Mapping[str, str]:
    """The code that makes the module of `src`, if that is one."""
    if src is None or src.kind != "module":
        return {}
    from edgekiln.models.artifact import read_meta

    return {"factory": factory_code(src.read(read_meta).factory)}


def used_functions(**named: str) -> Mapping[str, str]:
    """The code of functions of the user's, `package.module:function`, that options name."""
    return {option: factory_code(name) for option, name in named.items() if name}


def named_model(name: str) -> str:
    """A module file and the code that its factory is, or the code of a factory; "" for ""."""
    if not name:
        return ""
    if Path(name).suffix != ".pt":
        return factory_code(name)
    if not Path(name).is_file():
        return ""
    from edgekiln.models.artifact import read_meta

    return f"{key_checks.hashed(Path(name))} {factory_code(read_meta(Path(name)).factory)}"
