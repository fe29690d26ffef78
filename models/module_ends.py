"""What a module takes and gives, of any number and type, found out by samples without labels."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.models.data.dataset import ONLY
from edgekiln.models.data.unlabelled import SampleSet
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.inputs import preprocess
from edgekiln.runtime.manifest import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

INPUT, OUTPUT = "input", "output"  # the names where there is one
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, kw_only=True)
class ModuleInput:
    """`shape` is that of one sample: without the batch axis, which is the first."""

    name: str
    dtype: str  # numpy's name
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ModuleEnds:
    """All inputs in the order of `forward`, the outputs' names in theirs."""

    inputs: tuple[ModuleInput, ...]
    outputs: tuple[str, ...]
    preprocessing: Preprocessing | None  # of the first input, where that is an image


def ends_of(module: "nn.Module", name: str, found: SampleSet) -> ModuleEnds:
    """Call `module`, in evaluation mode from now on, with the first samples.

    Args:
        name: of the module, for messages.
        found: samples of each input, by the name that `forward` has for it; or of the only one.

    Raises:
        InputError: an input has no samples, or the module does not take them, or what it gives is
            no tensors.
    """
    import torch

    arrays = _in_order(module, name, found)
    numbers = _numbers(arrays, found)
    first = {
        key: _prepared(array[:2], numbers if place == 0 else None)
        for place, (key, array) in enumerate(arrays.items())
    }
    try:
        with torch.no_grad():
            given = module.eval()(*map(torch.from_numpy, first.values()))
    except Exception as error:  # whatever the user's own module does
        shapes = ", ".join(f"{key} {array.dtype} {array.shape}" for key, array in first.items())
        raise InputError(
            f"{name}: does not take {shapes}: {str(error).strip().partition(chr(10))[0]}",
            hint="the first axis is the samples'; give what forward() takes, by its names",
        ) from error
    return ModuleEnds(
        inputs=tuple(
            ModuleInput(name=key, dtype=array.dtype.name, shape=array.shape[1:])
            for key, array in first.items()
        ),
        outputs=tuple(named_outputs(given, name)),
        preprocessing=numbers,
    )


def named_outputs(given: object, module: str) -> "dict[str, Tensor]":
    """What a module gives, by name: a tensor, several of them, or a dict.

    Raises:
        InputError: it holds anything else.
    """
    import torch

    found: dict[str, object]
    match given:
        case Mapping():
            found = {str(key): value for key, value in given.items()}
        case tuple() | list():
            names = [OUTPUT, *(f"{OUTPUT}_{place}" for place in range(1, len(given)))]
            found = dict(zip(names, given, strict=True))
        case _:
            found = {OUTPUT: given}
    tensors = {key: value for key, value in found.items() if isinstance(value, torch.Tensor)}
    if not tensors or len(tensors) < len(found):
        kinds = ", ".join(type(value).__name__ for value in found.values()) or "nothing"
        raise InputError(
            f"{module}: gives {kinds}, expected tensors",
            hint="wrap it in a module whose forward returns a tensor, a tuple or a dict of them",
        )
    return tensors


def _in_order(module: "nn.Module", name: str, found: SampleSet) -> "dict[str, NDArray[np.generic]]":
    """The samples by the names that `forward` has for its inputs, in its order."""
    parameters = [
        each
        for each in inspect.signature(module.forward).parameters.values()
        if each.kind in _POSITIONAL
    ]
    needed = [each.name for each in parameters if each.default is inspect.Parameter.empty]
    if ONLY in found.arrays:
        if len(needed) > 1:
            raise _missing(name, needed, found.arrays)
        return {INPUT: found.arrays[ONLY]}
    given = [each.name for each in parameters if each.name in found.arrays]
    if not set(needed) <= set(given) or not given:
        raise _missing(name, needed or [each.name for each in parameters], found.arrays)
    return {each: found.arrays[each] for each in given}


def _missing(name: str, needed: Sequence[str], given: Mapping[str, object]) -> InputError:
    have = ", ".join(filter(None, given)) or "one input"
    return InputError(
        f"{name}: takes {', '.join(needed)}; the samples have {have}",
        hint="name the arrays of a .npz after the arguments of forward(), or give dicts from "
        "package.module:factory",
    )


def _numbers(arrays: "Mapping[str, NDArray[np.generic]]", found: SampleSet) -> Preprocessing | None:
    """How pixels become numbers; None for samples that are no images, or stay bytes."""
    first = next(iter(arrays.values()))
    if first.dtype != np.uint8 or first.ndim != 4:
        return None
    return found.options.numbers(first.dtype)


def _prepared(array: "NDArray[np.generic]", numbers: Preprocessing | None) -> "NDArray[np.generic]":
    if numbers is not None:
        return preprocess(array, numbers)
    # Modules compute in float32, whatever floats the user saved; indices and bytes stay what they
    # are.
    return array.astype(np.float32) if array.dtype.kind == "f" else np.ascontiguousarray(array)
