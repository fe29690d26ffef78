"""What a network does as it is: its outputs, its score, its loss on a few batches."""

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from edgekiln.compiler.training.batch import Batch
from edgekiln.compiler.training.batches import Batches
from edgekiln.compiler.training.loss import Objective
from edgekiln.compiler.training.score import SplitScore, score
from edgekiln.models.module_ends import named_outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from edgekiln.compiler.training.context import TrainingContext


def outputs_of(module: "nn.Module", batch: Batch) -> "dict[str, Tensor]":
    """The outputs for a batch, by name."""
    return named_outputs(module(*batch.arguments), "the module")


def validation_score(
    module: "nn.Module", context: "TrainingContext", batch_size: int
) -> SplitScore:
    """The score on the validation split of a module, which is in evaluation mode from now on."""
    batches = Batches(
        split=context.data.val, preprocessing=context.data.preprocessing, batch_size=batch_size
    )
    predict = partial(outputs_of, module.eval())
    return score(predict, batches, Objective(task=context.data.task))


def losses_on_batches(
    context: "TrainingContext", *, batch_size: int, seed: int, count: int
) -> "Iterator[Callable[[nn.Module], Tensor]]":
    """The tasks' loss on the first `count` training batches, as functions of the network."""
    objective = Objective(task=context.data.task)
    batches = Batches(
        split=context.data.train,
        preprocessing=context.data.preprocessing,
        batch_size=batch_size,
        heads=objective.heads,
        seed=seed,
    )
    for batch in islice(batches.training(0), count):
        yield partial(_loss, objective, batch)


def _loss(objective: Objective, batch: Batch, module: "nn.Module") -> "Tensor":
    return objective(outputs_of(module, batch), batch)
