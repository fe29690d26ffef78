"""Makes a torch module by its name: zoo names and `package.module:factory`."""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from edgekiln.models import spec
from edgekiln.models.spec import Value
from edgekiln.models.users_code import exits_are_errors
from edgekiln.models.zoo.entries import ENTRIES
from edgekiln.models.zoo.vision import PACKAGES, mend_torchvision
from edgekiln.runtime.errors import ConfigError, InputError, MissingToolError
from edgekiln.runtime.typed import did_you_mean

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Factory:
    """A function that makes a module, and the arguments it will get."""

    name: str  # zoo name or "package.module:factory": enough to find it again
    call: Callable[..., object]
    kwargs: Mapping[str, Value]

    def accepts(self, parameter: str) -> bool:
        """Whether the function has a parameter of this name."""
        return parameter in _parameters(self.call)


def resolve(model: str, **kwargs: Value) -> Factory:
    """Find the factory of `"resnet8?classes=4"` or `"package.module:factory?depth=3"`.

    Later wins: the zoo entry's arguments, those after `?`, then `kwargs`.

    Raises:
        ConfigError: no such zoo name, module, attribute or parameter.
        InputError: importing the user's module failed.
        MissingToolError: timm or torchvision is asked for and not installed.
    """
    name, options = spec.split(model)
    given = {key: spec.typed(value) for key, value in options.items()} | kwargs
    if ":" in name:
        call = _find(name)
    elif entry := ENTRIES.get(name):
        call, given = _find(entry.factory), {**entry.kwargs, **given}
    else:
        hint = did_you_mean(name, ENTRIES, what="models are")
        raise ConfigError(
            f"no model named {name!r}", hint=f"{hint}; your own is named package.module:factory"
        )
    _check_parameters(name, call, given)
    return Factory(name, call, given)


def build(model: str, **kwargs: Value) -> "nn.Module":
    """A fresh module in training mode, its weights from torch's global generator.

    Raises:
        InputError: the factory raised, or returned something else.
        others: as `resolve`.
    """
    return make(resolve(model, **kwargs))


def make(factory: Factory) -> "nn.Module":
    """Call a resolved factory; errors as `build`."""
    from torch import nn

    try:
        with exits_are_errors():
            module = factory.call(**factory.kwargs)
    except Exception as error:
        raise InputError(
            f"{factory.name}: the factory raised {type(error).__name__}: {error}",
            hint="call it in Python with the same arguments to see where",
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError(
            f"{factory.name}: the factory returned {type(module).__name__}",
            hint="it must return a torch.nn.Module",
        )
    return module


def _find(reference: str) -> Callable[..., object]:
    """`"package.module:a.b"`: each part after the colon is an attribute, or a key of a mapping."""
    module_name, _, path = reference.partition(":")
    found: object = _import(module_name)
    for part in path.split("."):
        # `hasattr` too: a package may make a name only when it is asked for (PEP 562).
        names = found if isinstance(found, Mapping) else vars(found)
        if part not in names and not hasattr(found, part):
            public = [str(name) for name in names if not str(name).startswith("_")]
            raise ConfigError(
                f"{reference}: no {part!r} in {module_name}",
                hint=did_you_mean(part, public, what="there are"),
            )
        found = found[part] if isinstance(found, Mapping) else getattr(found, part)
    if not callable(found):
        raise ConfigError(
            f"{reference}: is not a function or class", hint="name the factory itself"
        )
    return found


def _import(name: str) -> ModuleType:
    package = name.partition(".")[0]
    if package in sys.stdlib_module_names:
        # A module artifact names its factory: one from a stranger must not name `os:system`.
        raise ConfigError(
            f"{name}: is part of Python, which has no models", hint="name your own module"
        )
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # the user's own module, beside which the tool was started
    try:
        if package in PACKAGES:
            mend_torchvision()
        with exits_are_errors():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if package in PACKAGES and error.name in PACKAGES:
            raise MissingToolError(
                f"{name}: {error.name} is not installed", hint="pip install 'edgekiln[vision]'"
            ) from error
        # What is missing is neither the module nor a package above it: something that it imports.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise InputError(
                f"{name}: importing it raised ModuleNotFoundError: {error}",
                hint=f"install {error.name} beside edgekiln",
            ) from error
        raise ConfigError(
            f"no module named {name!r}",
            hint=f"it is looked for in {here} and in the installed packages",
        ) from error
    except Exception as error:
        raise InputError(
            f"{name}: importing it raised {type(error).__name__}: {error}",
            hint=f"try: python -c 'import {name}'",
        ) from error


def _parameters(call: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(call).parameters
    except ValueError:  # some built-in callables have no signature
        return {}


def _check_parameters(name: str, call: Callable[..., object], given: Mapping[str, Value]) -> None:
    parameters = _parameters(call)
    # With **kwargs the function itself says what it does not know.
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    for key in given:
        if key not in parameters:
            raise ConfigError(
                f"{name}: no parameter {key!r}",
                hint=did_you_mean(key, parameters, what="parameters are")
                if parameters
                else "it has none",
            )
