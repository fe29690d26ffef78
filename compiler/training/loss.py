"""What training minimises."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from edgekiln.models.tasks.classification import Classification
from edgekiln.models.tasks.heads import Head, heads_of
from edgekiln.models.tasks.tally import outputs_by_head

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor, nn

    from edgekiln.compiler.training.batch import Batch

    # A user's own training step: a model and a batch → the loss, a scalar.
    TrainingStep = Callable[[nn.Module, Batch], Tensor]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """L = Σ wₕ·(α·L_teacher + (1−α)·L_task) over the heads; without a teacher, L_task alone.

    What the two are, the head's task says: of classification, cross entropy and
    T²·KL(teacher ‖ student) over the softened probabilities softmax(logits / T) (Hinton et al.,
    arXiv:1503.02531).

    Args:
        task: names the heads, as `heads_of` reads it.
        label_smoothing: of heads that classify.
        step: computes the loss in place of all this, while training.
    """

    task: str = "classification"
    alpha: float = 0.7
    temperature: float = 4.0
    label_smoothing: float = 0.0
    step: "TrainingStep | None" = None

    @cached_property
    def heads(self) -> tuple[Head, ...]:
        """The heads whose losses are added up."""
        return tuple(
            replace(head, task=replace(head.task, label_smoothing=self.label_smoothing))
            if self.label_smoothing and isinstance(head.task, Classification)
            else head
            for head in heads_of(self.task)
        )

    def __call__(
        self,
        outputs: "Mapping[str, Tensor]",
        batch: "Batch",
        taught: "Mapping[str, Tensor] | None" = None,
    ) -> "Tensor":
        """The loss of one batch, a scalar, in float32 whatever the precision of the network.

        Args:
            outputs: the network's, by name.
            taught: the teacher's, or None.
        """
        own = outputs_by_head(self.heads, outputs)
        teachers = None if taught is None else outputs_by_head(self.heads, taught)
        losses = []
        for place, head in enumerate(self.heads):
            told = [_real(output) for output in own[place]]
            loss = _task_loss(head, told, batch)
            if teachers is not None:
                wise = [_real(output) for output in teachers[place]]
                soft = head.task.teacher_loss(told, wise, self.temperature)
                loss = self.alpha * soft + (1 - self.alpha) * loss
            losses.append(loss if head.weight == 1 else head.weight * loss)
        total: Tensor = sum(losses[1:], start=losses[0])
        return total


def _task_loss(head: Head, told: "Sequence[Tensor]", batch: "Batch") -> "Tensor":
    """The loss of one head; of samples made of two, of both their targets by their shares.

    For losses that are linear in the target, such as cross entropy, that is the loss of the blended
    target.
    """
    target = batch.targets[head.name]
    loss = head.task.loss(told, target, batch.inputs)
    if (blend := batch.blend) is None:
        return loss
    other = head.task.loss(told, target[blend.partner], batch.inputs)
    return blend.share * loss + (1 - blend.share) * other


def _real(output: "Tensor") -> "Tensor":
    return output.float() if output.is_floating_point() else output
