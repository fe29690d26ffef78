"""What training minimises."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from edgekiln.compiler.training.hints import hint_distance, without_hints
from edgekiln.compiler.training.imitation import Imitation
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
    """L = Σ wₕ·(α·L_teacher + (1−α)·L_task) over the heads, and β·L_hint where inner layers are
    hinted at; without a teacher, L_task alone.

    What the first two are, the head's task says: of classification, cross entropy and
    T²·KL(teacher ‖ student) over the softened probabilities softmax(logits / T) (Hinton et al.,
    arXiv:1503.02531).

    Args:
        task: names the heads, as `heads_of` reads it.
        imitation: what α, T and β are, and other L_teacher.
        label_smoothing: of heads that classify.
        step: computes the loss in place of all this, while training.
        penalty: added to every loss of training: a scalar of the network's weights.
    """

    task: str = "classification"
    imitation: Imitation = field(default_factory=Imitation)
    label_smoothing: float = 0.0
    step: "TrainingStep | None" = None
    penalty: "Callable[[], Tensor] | None" = None

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
        taught: "Sequence[Mapping[str, Tensor]]" = (),
        progress: float = 0.0,
    ) -> "Tensor":
        """The loss of one batch, a scalar, in float32 whatever the precision of the network.

        Args:
            outputs: the network's, by name.
            taught: each teacher's.
            progress: which part of the training's steps is done, from 0 to 1.
        """
        own = outputs_by_head(self.heads, without_hints(outputs))
        teachers = [outputs_by_head(self.heads, without_hints(each)) for each in taught]
        alpha = self.imitation.alpha.at(progress)
        temperature = self.imitation.temperature.at(progress)
        losses = []
        for place, head in enumerate(self.heads):
            told = [_real(output) for output in own[place]]
            loss = _task_loss(head, told, batch)
            if teachers:
                wise = [[_real(output) for output in each[place]] for each in teachers]
                soft = self.imitation.loss(head.task, told, wise, temperature)
                loss = alpha * soft + (1 - alpha) * loss
            losses.append(loss if head.weight == 1 else head.weight * loss)
        if taught and (distance := hint_distance(outputs, taught[0])) is not None:
            losses.append(self.imitation.hint_weight * distance)
        total: Tensor = sum(losses[1:], start=losses[0])
        return total

    def penalized(self, loss: "Tensor") -> "Tensor":
        """A loss of training with the penalty, where there is one."""
        return loss if self.penalty is None else loss + self.penalty()


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
