"""What a module must take and give to be trained on a data set."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.models.data.dataset import ONLY, Dataset
from edgekiln.models.module_ends import OUTPUT, named_outputs
from edgekiln.models.tasks.tally import outputs_by_head
from edgekiln.runtime.errors import InputError, first_line

if TYPE_CHECKING:
    from torch import Tensor, nn

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def samples_of(dataset: Dataset, count: int) -> "tuple[Tensor, ...]":
    """The first training samples as a module takes them: (count, …) of each input."""
    import numpy as np
    import torch

    first = dataset.train.take(np.arange(min(count, len(dataset.train))))
    return tuple(torch.from_numpy(array) for array in dataset.ready(first.inputs).values())


def in_forwards_order(dataset: Dataset, module: "nn.Module", name: str) -> Dataset:
    """The data set with its inputs in the order in which `forward` takes them, by its names.

    Inputs that are numbered, as those of a tuple are, have the order of their numbers already.

    Raises:
        InputError: `forward` takes other inputs than the data set gives.
    """
    given = list(dataset.train.inputs)
    parameters = [
        each
        for each in inspect.signature(module.forward).parameters.values()
        if each.kind in _POSITIONAL
    ]
    needed = [each.name for each in parameters if each.default is inspect.Parameter.empty]
    variadic = inspect.Parameter.VAR_POSITIONAL in (
        each.kind for each in inspect.signature(module.forward).parameters.values()
    )
    if given == [ONLY]:
        if len(needed) > 1:
            raise InputError(
                f"{name}: takes {len(needed)} inputs: {', '.join(needed)}; {dataset.name} gives "
                "one",
                hint="let package.module:factory give dicts by these names, or wrap the module",
            )
        return dataset
    names = [each.name for each in parameters]
    if all(each.isdecimal() for each in given):
        if variadic or len(needed) <= len(given) <= len(names):
            places = names[: len(given)] if not variadic else [f"input_{i}" for i in given]
            return dataset.with_inputs(dict(zip(places, given, strict=True)))
    elif set(needed) <= set(given) <= set(names):
        order = [each for each in names if each in given]
        if order == names[: len(order)]:
            _check_first(dataset, order[0], name)
            return dataset.with_inputs({each: each for each in order})
    listed = ", ".join(given) if not given[0].isdecimal() else f"{len(given)} inputs in a tuple"
    raise InputError(
        f"{name}: takes {', '.join(names)}; {dataset.name} gives {listed}",
        hint="give the samples as dicts by the names of forward()'s arguments",
    )


def _check_first(dataset: Dataset, wanted: str, name: str) -> None:
    """Raise InputError if what is preprocessed, the first input, would be another one."""
    given = next(iter(dataset.train.inputs))
    if dataset.preprocessing is not None and given != wanted:
        raise InputError(
            f"{name}: takes {wanted} first; {dataset.name} gives {given} first, and scale, mean "
            "and std are the first input's",
            hint=f"let forward() take {given} first; or give floats, and no such options",
        )


def outputs_of_one(module: "nn.Module", dataset: Dataset, name: str) -> "dict[str, Tensor]":
    """What `module`, in evaluation mode from now on, gives for one sample of `dataset`.

    Args:
        name: of the module, for messages.

    Raises:
        InputError: it does not take this sample, or gives what is no tensor.
    """
    import torch

    samples = samples_of(dataset, 1)
    try:
        with torch.no_grad():
            output = module.eval()(*samples)
    except Exception as error:  # whatever the user's own module does
        shape = dataset.input_shape
        resize = ", or have it resized: --data NAME?size=32" if len(shape) == 3 else ""
        if len(shape) == 1 and Path(dataset.name).is_dir():  # of a folder, only waves have one axis
            resize = f", or have spectra made of the sounds: --data '{dataset.name}?mel=40'"
        shapes = ", ".join(str(tuple(each.shape[1:])) for each in samples)
        raise InputError(
            f"{name}: does not take the samples of {dataset.name}, shape {shapes}: "
            f"{first_line(error)}{_first_weight(module)}",
            hint=f"choose other data{resize}",
        ) from error
    return named_outputs(output, name)


def check_fits(
    module: "nn.Module", dataset: Dataset, name: str, hint: str = ""
) -> "dict[str, Tensor]":
    """What `module` gives for one sample of `dataset`, which is what its tasks ask for.

    Args:
        hint: what to do about an output of another shape.

    Raises:
        InputError: it is not; both shapes are named.
    """
    outputs = outputs_of_one(module, dataset, name)
    heads = dataset.heads
    for head, own in zip(heads, outputs_by_head(heads, outputs), strict=True):
        facts = dataset.facts(head)
        if len(own) > 1 and not head.task.takes_several:
            raise InputError(
                f"{name}: gives {len(own)} outputs: {', '.join(outputs)}; {dataset.task} takes one",
                hint="say which: --task NAME=TASK with that output's name in a dict; or wrap it "
                "in a module whose forward returns the one output that counts",
            )
        found = tuple(own[0].shape)
        if found[:1] != (1,) or not head.task.accepts(found[1:], facts):
            wanted = head.task.wanted(facts) or ()
            text = ", ".join("any" if extent is None else str(extent) for extent in (1, *wanted))
            of = f"{head.name}: " if head.name else ""
            raise InputError(
                f"{name}: {of}gives {found} for one sample of {dataset.name}, "
                f"expected ({text}{'' if wanted else ','})",
                hint=hint or _how(dataset.task, facts.classes),
            )
    return outputs


def is_plain(dataset: Dataset, outputs: Mapping[str, object]) -> bool:
    """Whether a module takes one input of floats and gives one output without a name."""
    (first, *others) = samples_of(dataset, 1)
    alone = not others and list(dataset.train.inputs) == [ONLY]
    return alone and first.is_floating_point() and [*outputs] == [OUTPUT]


def _how(task: str, classes: int) -> str:
    if task == "classification":
        return (
            f"set the factory's own option, e.g. NAME?num_classes={classes}, or choose other data"
        )
    return f"the output must fit the task, {task}: change the module, or choose another --task"


def _first_weight(module: "nn.Module") -> str:
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            return f"; the model's first weight {name} has {tuple(parameter.shape)}"
    return "; the model has no weights"
