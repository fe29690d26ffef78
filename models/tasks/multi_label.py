"""Any number of classes for each sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgekiln.models.tasks.metric import Metric
from edgekiln.models.tasks.task import Array, Arrays, LearningTask, OutputFacts, rows
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from edgekiln.models.tasks.motion import Motion


@dataclass(frozen=True, kw_only=True)
class MultiLabel(LearningTask):
    """Output: (N, classes) logits; target: (N, classes) of 0 and 1. Binary cross entropy; F1 of
    each class, their mean. A class without any label, told or true, counts 0, as scikit-learn's.
    """

    threshold: float = 0.5  # of the probability above which a class is told

    of_whole_sample: ClassVar[bool] = True

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (Metric(name="F1", unit="%", share=True),)

    def loss(
        self,
        outputs: "Sequence[Tensor]",
        target: "Tensor",
        inputs: "Mapping[str, Tensor]",  # noqa: ARG002
    ) -> "Tensor":
        from torch.nn import functional as F

        return F.binary_cross_entropy_with_logits(outputs[0], target.float())

    def teacher_loss(
        self, outputs: "Sequence[Tensor]", taught: "Sequence[Tensor]", temperature: float
    ) -> "Tensor":
        return softened_bernoulli(outputs[0], taught[0], temperature)

    def answer(self, outputs: Sequence[Array], inputs: Arrays, target: Array) -> Array:  # noqa: ARG002
        # The sigmoid of a logit is above the threshold where the logit is above its inverse.
        told: Array = rows(outputs[0]) > np.log(self.threshold / (1 - self.threshold))
        return told

    def measure(self, answers: Array, targets: Array) -> tuple[float]:
        told, true = answers.astype(bool), targets.astype(bool)
        both = (told & true).sum(axis=0)
        either = told.sum(axis=0) + true.sum(axis=0)
        return (float(np.mean(2 * both / np.maximum(either, 1))),)

    def checked(self, where: str, targets: Array) -> Array:
        if targets.ndim != 2 or not np.isin(targets, (0, 1)).all():
            raise InputError(
                f"{where}: targets are {targets.dtype} of shape {targets.shape}, expected 0 and 1 "
                "of shape (N, classes)",
                hint="one column a class; for one class a sample: --task classification",
            )
        return targets.astype(np.uint8)

    def classes_in(self, targets: Array) -> int:
        return int(targets.shape[1])

    def wanted(self, facts: OutputFacts) -> tuple[int | None, ...]:
        return (facts.classes,)

    def moved(self, target: "Tensor", motion: "Motion") -> "Tensor":  # noqa: ARG002
        return target


def softened_bernoulli(output: "Tensor", taught: "Tensor", temperature: float) -> "Tensor":
    """T² times the cross entropy to the teacher's probability of each logit, less its own entropy:
    0 where both agree.
    """
    from torch.nn import functional as F

    T = temperature
    soft = (taught / T).sigmoid()
    cross = F.binary_cross_entropy_with_logits(output / T, soft)
    return (cross - F.binary_cross_entropy_with_logits(taught / T, soft)) * T**2
