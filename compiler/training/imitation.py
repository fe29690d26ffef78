"""What draws a network to its teachers' answers, and how strongly in the course of a training."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from edgekiln.models.tasks.classification import softened_divergence
from edgekiln.models.tasks.task import LearningTask
from edgekiln.runtime.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from edgekiln.models.tasks.heads import Head

ImitationName = Literal["logits", "standardized", "dist"]
RampForm = Literal["linear", "cosine"]
# Deviations and norms below this are those of a constant, which has no direction.
_TINY = 1e-7


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """A number that goes from one value to another over a training.

    Args:
        end: the last step's value; None: the number stays as it is.
    """

    start: float
    end: float | None = None
    form: RampForm = "linear"

    def at(self, progress: float) -> float:
        """The value where `progress`, from 0 to 1, of the steps are done."""
        if self.end is None:
            return self.start
        part = progress if self.form == "linear" else 0.5 * (1 - math.cos(math.pi * progress))
        return self.start + (self.end - self.start) * part


@dataclass(frozen=True, kw_only=True)
class Imitation:
    """How a network learns from teachers.

    Args:
        by: "logits" is what the head's task has for a teacher; the others are for outputs that tell
            classes apart, see `standardized_divergence` and `relational_distance`.
        alpha: the teachers' weight, from 0 to 1; the labels' is the rest.
        temperature: what logits are divided by.
        hint_weight: of the distance between inner layers, where there are hints.
        shares: how much each teacher counts, one number each, their sum is 1; () for one teacher.
    """

    by: ImitationName = "logits"
    alpha: Ramp = field(default_factory=lambda: Ramp(start=0.7))
    temperature: Ramp = field(default_factory=lambda: Ramp(start=4.0))
    hint_weight: float = 1.0
    shares: tuple[float, ...] = ()

    def loss(
        self,
        task: "LearningTask",
        told: "Sequence[Tensor]",
        taught: "Sequence[Sequence[Tensor]]",
        temperature: float,
    ) -> "Tensor":
        """How far a head's outputs are from those of each teacher, by the teachers' shares.

        Divergences are linear in the teacher's probabilities but for a term without the network, so
        the gradient is that of the divergence from the mean of the teachers' probabilities; with
        squared errors, from the mean of their numbers.
        """
        each = [self._distance(task, told, wise, temperature) for wise in taught]
        shares = self.shares or (1 / len(each),) * len(each)
        if len(each) == 1:
            return each[0]
        losses = [share * loss for share, loss in zip(shares, each, strict=True)]
        total: Tensor = sum(losses[1:], start=losses[0])
        return total

    def _distance(
        self,
        task: "LearningTask",
        told: "Sequence[Tensor]",
        wise: "Sequence[Tensor]",
        temperature: float,
    ) -> "Tensor":
        measure = _BETWEEN_CLASSES.get(self.by)
        ours, theirs = task.class_logits(told), task.class_logits(wise)
        if measure is None or ours is None or theirs is None:
            return task.teacher_loss(told, wise, temperature)
        return measure(ours, theirs, temperature)


def check_imitation(imitation: Imitation, heads: "Sequence[Head]") -> None:
    """Raise ConfigError if no head tells classes apart, of which the imitation is to learn."""
    of_classes = any(
        type(head.task).class_logits is not LearningTask.class_logits for head in heads
    )
    if imitation.by in _BETWEEN_CLASSES and not of_classes:
        raise ConfigError(
            f"distillation = {imitation.by}: the task tells no classes apart",
            "leave it out: the task has its own distance from a teacher",
        )


def standardized_divergence(logits: "Tensor", taught: "Tensor", temperature: float) -> "Tensor":
    """T²·KL(teacher ‖ student) of logits (N, classes) that are z-scores of each sample's own.

    A small student need not have logits as large as its teacher's: their order and relative gaps
    are all that is held against each other (Sun et al., CVPR 2024, arXiv:2403.01427, algorithm 1).
    """
    return softened_divergence(_z_scores(logits), _z_scores(taught), temperature)


def relational_distance(logits: "Tensor", taught: "Tensor", temperature: float) -> "Tensor":
    """T² times what two correlations lack of 1, of probabilities softmax(logits / T): between the
    classes of a sample, the mean over the samples, and between the samples of a class, the mean
    over the classes (DIST; Huang et al., arXiv:2205.10536, equations 8 and 9).

    Args:
        logits: (N, classes), the student's.
        taught: the teacher's, likewise.
    """
    ours, theirs = ((each / temperature).softmax(dim=1) for each in (logits, taught))
    between_classes = 1 - _correlations(ours, theirs).mean()
    between_samples = 1 - _correlations(ours.T, theirs.T).mean()
    return temperature**2 * (between_classes + between_samples)


_BETWEEN_CLASSES: "Mapping[str, Callable[[Tensor, Tensor, float], Tensor]]" = {
    "standardized": standardized_divergence,
    "dist": relational_distance,
}


def _z_scores(logits: "Tensor") -> "Tensor":
    deviation = logits.std(dim=1, keepdim=True)
    return (logits - logits.mean(dim=1, keepdim=True)) / (deviation + _TINY)


def _correlations(ours: "Tensor", theirs: "Tensor") -> "Tensor":
    """Pearson's correlation of each row, (rows,)."""
    one, other = (each - each.mean(dim=1, keepdim=True) for each in (ours, theirs))
    found: Tensor = (one * other).sum(dim=1) / (one.norm(dim=1) * other.norm(dim=1) + _TINY)
    return found
