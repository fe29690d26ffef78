"""A user's own samples: `package.module:factory` gives them one by one."""

from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgekiln.models import spec
from edgekiln.models.data.limits import DATA
from edgekiln.models.data.option_kinds import check_reads
from edgekiln.models.data.options import KEYS, OF_FILES, Options, parse, task_in
from edgekiln.models.tasks.heads import references_in as tasks_references_in
from edgekiln.models.users_code import exits_are_errors
from edgekiln.models.zoo.factories import resolve
from edgekiln.runtime.errors import ConfigError, InputError

PARTS = ("train", "test", "val")
# The command line adds the one; what the other calls is known before any function is.
_NEVER_THEIRS = ("task", "transform")
_FORMS = (
    "it gives arrays, one a sample, or, of several inputs, dicts by the inputs' names; what stands "
    "behind a sample in a tuple, such as a label, is left out"
)


@runtime_checkable
class Indexed(Protocol):
    """A data set that has a length and an index, as PyTorch's have."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> object: ...


def is_reference(name: str) -> bool:
    """Whether this names a function: `package.module:factory`."""
    module, colon, function = name.partition(":")
    parts = [*module.split("."), *function.split(".")]
    return bool(colon) and all(part.isidentifier() for part in parts)


def references_in(data: str) -> tuple[str, ...]:
    """The functions that a spec of data has called: its factory, its transform, its tasks'."""
    name, options = spec.split(data)
    own = (name, options.get("transform", ""))
    return (*filter(is_reference, own), *tasks_references_in(task_in(data)))


def parts_in(found: object) -> Mapping[str, object] | None:
    """What a factory gave, where that is a dict of "train", and perhaps "test" and "val"."""
    if isinstance(found, Mapping) and "train" in found and set(found) <= set(PARTS):
        return found
    return None


def not_called(who: str, data: str) -> ConfigError:
    """A stranger's file must not have functions called: those are named by the user himself."""
    return ConfigError(
        f"{who} names {data} as its data, which is a function",
        hint=f"if you trust the file: --data '{data}'",
    )


def options_of(
    name: str, given: Mapping[str, str], reads: Collection[str]
) -> tuple[Options, Mapping[str, str]]:
    """What stands behind `?`: the options of data, and the factory's own arguments. A name that
    both have, such as `steps`, is the factory's.

    Args:
        reads: the options that such data reads.

    Raises:
        ConfigError: no such function, a wrong option, or one that nothing would read.
    """
    function = resolve(name)
    ours = {
        key: value
        for key, value in given.items()
        if key in KEYS
        and key not in OF_FILES
        and (key in _NEVER_THEIRS or not function.accepts(key))
    }
    check_reads(name, ours, reads)
    return parse(name, ours), {key: value for key, value in given.items() if key not in ours}


def samples_of(
    reference: str, arguments: Mapping[str, str], most: int
) -> dict[str, NDArray[np.generic]]:
    """The first `most` samples, stacked: (N, …) by the input's name, "" for the only one.

    Raises:
        ConfigError, InputError: no such function, it raised, or what it gave is no samples.
    """
    made = resolve(spec.join(reference, dict(arguments)))
    try:
        with exits_are_errors():
            return _stacked(reference, made.call(**made.kwargs), most)
    except InputError:
        raise
    except Exception as error:  # whatever the user's own function does
        raise InputError(
            f"{reference}: raised {type(error).__name__}: {error}",
            hint="call it in Python with the same arguments to see where",
        ) from error


def _stacked(reference: str, found: object, most: int) -> dict[str, NDArray[np.generic]]:
    parts = parts_in(found)
    if parts is not None:  # ranges are taken from what a network is trained with
        found = parts["train"]
    if isinstance(found, Mapping):  # all samples of each input
        return {str(key): _array(value)[:most] for key, value in found.items()}
    rows: dict[str, list[NDArray[np.generic]]] = {}
    size = 0
    for sample in _in_turn(reference, found, most):
        for key, value in _named(sample).items():
            rows.setdefault(key, []).append(value)
            size += value.nbytes
        # As they come: nobody knows how much a generator will give.
        DATA.check(size, reference, "give fewer samples: ?limit=500")
    for key, values in rows.items():
        _check_alike(reference, key, values)
    return {key: np.stack(values) for key, values in rows.items()}


def _in_turn(reference: str, found: object, most: int) -> Iterable[object]:
    if isinstance(found, Iterable):
        return islice(found, most)
    # PyTorch's map-style data sets have a length and an index, and no `__iter__`.
    if isinstance(found, Indexed):
        return (found[index] for index in range(min(len(found), most)))
    raise InputError(f"{reference}: a {type(found).__name__} is no row of samples", hint=_FORMS)


def _named(sample: object) -> dict[str, NDArray[np.generic]]:
    if isinstance(sample, tuple) and sample:
        sample = sample[0]
    if isinstance(sample, Mapping):
        return {str(key): _array(value) for key, value in sample.items()}
    return {"": _array(sample)}


def _array(value: object) -> NDArray[np.generic]:
    numpy = getattr(value, "numpy", None)  # a tensor of PyTorch's
    array: NDArray[np.generic] = np.asarray(numpy() if callable(numpy) else value)
    if array.dtype.kind not in "biuf":
        raise InputError(f"a sample is {array.dtype}, not numbers", hint=_FORMS)
    return array


def _check_alike(reference: str, key: str, values: list[NDArray[np.generic]]) -> None:
    kinds = {(value.dtype.name, value.shape) for value in values}
    if len(kinds) > 1:
        first, other = (" ".join(map(str, kind)) for kind in (min(kinds), max(kinds)))
        of = f" of {key}" if key else ""
        raise InputError(
            f"{reference}: samples{of} are {first} and {other}",
            hint="all samples of an input need one shape and one type",
        )
