"""A user's own parts of a training: a step that gives the loss, a change of batches."""

from typing import TYPE_CHECKING

from edgekiln.models.zoo.factories import resolve
from edgekiln.runtime.errors import ConfigError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor, nn

    from edgekiln.compiler.training.batch import Batch, Change
    from edgekiln.compiler.training.loss import TrainingStep


def training_step(reference: str) -> "TrainingStep | None":
    """The function `package.module:function` that gets a model and a batch and returns the loss;
    None for "". What it gives is checked when it is called.

    Raises:
        ConfigError, InputError: no such function; or, when called, it raised or gave no loss.
    """
    if not reference:
        return None
    import torch

    step = _function(reference, "training-step")

    def checked(model: "nn.Module", batch: "Batch") -> "Tensor":
        loss = _called(reference, lambda: step(model, batch))
        if not isinstance(loss, torch.Tensor) or loss.ndim or not loss.requires_grad:
            raise InputError(
                f"{reference}: gave {_described(loss)}, expected a loss",
                hint="return a scalar tensor that was computed from model(…): loss.mean()",
            )
        return loss.float()

    return checked


def own_change(reference: str) -> "Change | None":
    """The function that gets a training batch and a random generator and returns a batch; None for
    "". Errors are as those of `training_step`; what it gives is checked when it is called.
    """
    if not reference:
        return None
    from edgekiln.compiler.training.batch import Batch as Kind

    change = _function(reference, "augment")

    def checked(batch: "Batch", draw: "Generator") -> "Batch":
        found = _called(reference, lambda: change(batch, draw))
        if not isinstance(found, Kind):
            raise InputError(
                f"{reference}: gave {type(found).__name__} for a batch",
                hint="return the batch, changed: dataclasses.replace(batch, inputs={…})",
            )
        return found

    return checked


def _function(reference: str, option: str) -> "Callable[..., object]":
    if ":" not in reference:
        raise ConfigError(
            f"{option} = {reference!r}: no function is named", "name it package.module:function"
        )
    made = resolve(reference)
    return lambda *given: made.call(*given, **made.kwargs)


def _described(value: object) -> str:
    import torch

    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    lost = "" if value.requires_grad else " that no weight leads to"
    return f"a tensor of shape {tuple(value.shape)}{lost}"


def _called(name: str, call: "Callable[[], object]") -> object:
    try:
        return call()
    except Exception as error:  # whatever the user's own function does
        raise InputError(
            f"{name}: raised {type(error).__name__}: {error}",
            hint="it gets batches of the shapes that the model takes; call it in Python to see "
            "where",
        ) from error
