"""Learning from new samples without forgetting the old ones: some of those are seen again."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.training.context import TrainingContext
from edgekiln.compiler.training.reproducible import derived_seed
from edgekiln.models.data.dataset import Split
from edgekiln.models.interface import in_forwards_order
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from edgekiln.models.data.dataset import Dataset
    from edgekiln.models.tasks.task import Arrays


def open_added(context: TrainingContext, spec: str, seed: int) -> "Dataset":
    """The data set that `spec` names, in the form of the module's own.

    Raises:
        ConfigError, InputError: there is none, or the module cannot learn it.
    """
    from edgekiln.models.data import load

    added = in_forwards_order(load(spec, seed), context.module, spec)
    return with_classes_of(context.data, added)


def with_classes_of(old: "Dataset", added: "Dataset") -> "Dataset":
    """The added samples as the network that knows `old` can learn them: its classes, its numbers.

    Classes are the same by name.

    Raises:
        InputError: other inputs, another task, or a class that the network does not tell apart.
    """
    if added.task != old.task:
        raise InputError(
            f"{added.name}: is for {added.task}, the module was trained for {old.task}",
            hint="add data of the same task",
        )
    for kind, one, other in (
        ("inputs", old.train.inputs, added.train.inputs),
        ("targets", old.train.targets, added.train.targets),
    ):
        if _form(one) != _form(other):
            raise InputError(
                f"{added.name}: {kind} are {_form(other)}, the module's data has {_form(one)}",
                hint="bring them to that form, by ?size=PIXELS or ?color=RGB behind the name",
            )
    if unknown := [name for name in added.classes if name not in old.classes]:
        raise InputError(
            f"{added.name}: class {unknown[0]!r} is new to the module, which knows "
            f"{', '.join(old.classes)}",
            hint="build the model for all classes, and take over the weights by --init",
        )
    added = replace(added, preprocessing=old.preprocessing)
    if added.classes == old.classes:
        return added
    # The first head is the one that the names are of.
    head = old.heads[0].name
    numbers = np.array([old.classes.index(name) for name in added.classes], np.int64)

    def renamed(split: Split) -> Split:
        targets = {**split.targets, head: numbers[split.targets[head].astype(np.int64)]}
        return replace(split, targets=targets)

    return replace(
        added,
        classes=old.classes,
        train=renamed(added.train),
        val=renamed(added.val),
        calib=renamed(added.calib),
        test=renamed(added.test),
    )


def rehearsed(old: "Dataset", added: "Dataset", *, share: float, seed: int) -> "Dataset":
    """The samples to train on: the added ones, and a share of the old ones, drawn by the seed.

    Validation is on all samples of both.
    """
    order = np.random.default_rng(derived_seed(seed)).permutation(len(old.train))
    again = old.train.take(np.sort(order[: round(share * len(old.train))]))
    return replace(
        old,
        train=_joined(added.train, again),
        val=_joined(old.val, added.val),
    )


def _form(arrays: "Arrays") -> str:
    return ", ".join(
        f"{name or 'samples'} of {array.dtype} {array.shape[1:]}" for name, array in arrays.items()
    )


def _joined(one: Split, other: Split) -> Split:
    return Split(
        inputs={
            name: np.concatenate([array, other.inputs[name]]) for name, array in one.inputs.items()
        },
        targets={
            name: np.concatenate([array, other.targets[name]])
            for name, array in one.targets.items()
        },
    )
