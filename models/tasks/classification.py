"""One class of several for each sample."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgekiln.models.tasks.metric import ACCURACY, Metric
from edgekiln.models.tasks.task import Array, Arrays, LearningTask, OutputFacts, rows
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from edgekiln.models.tasks.motion import Motion

_MAX_LABEL = 2**31  # larger ones are no class indices


@dataclass(frozen=True, kw_only=True)
class Classification(LearningTask):
    """Output: (N, classes) logits; target: (N,) class indices. Cross entropy, top-1 accuracy."""

    label_smoothing: float = 0.0

    has_classes: ClassVar[bool] = True
    of_whole_sample: ClassVar[bool] = True

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (ACCURACY,)

    def loss(
        self,
        outputs: "Sequence[Tensor]",
        target: "Tensor",
        inputs: "Mapping[str, Tensor]",  # noqa: ARG002
    ) -> "Tensor":
        from torch.nn import functional as F

        return F.cross_entropy(outputs[0], target, label_smoothing=self.label_smoothing)

    def teacher_loss(
        self, outputs: "Sequence[Tensor]", taught: "Sequence[Tensor]", temperature: float
    ) -> "Tensor":
        return softened_divergence(outputs[0], taught[0], temperature)

    def class_logits(self, outputs: "Sequence[Tensor]") -> "Tensor":
        return outputs[0]

    def answer(self, outputs: Sequence[Array], inputs: Arrays, target: Array) -> Array:  # noqa: ARG002
        told: Array = rows(outputs[0]).argmax(axis=1).astype("<i8")
        return told

    def measure(self, answers: Array, targets: Array) -> tuple[float]:
        return (float((answers == targets).mean()),)

    def checked(self, where: str, targets: Array) -> Array:
        return checked_labels(where, targets, None)

    def classes_in(self, targets: Array) -> int:
        return 1 + int(targets.astype(np.int64).max(initial=-1))

    def wanted(self, facts: OutputFacts) -> tuple[int | None, ...]:
        return (facts.classes,)

    def check_outputs(self, shape: tuple[int, ...], facts: OutputFacts, where: str) -> None:
        if (told := math.prod(shape)) < facts.classes:  # more are fine: nothing is asked of them
            raise InputError(
                f"the model tells {told} classes apart, {where} has {facts.classes}",
                hint="give the data the model was trained on",
            )

    def moved(self, target: "Tensor", motion: "Motion") -> "Tensor":  # noqa: ARG002
        return target  # what is on a picture stays the same


def checked_labels(where: str, y: Array, classes: int | None) -> Array:
    """Class indices (N,) as int64.

    Args:
        y: integers (N,) or (N, 1).
        classes: how many there are, where somebody says so.

    Raises:
        InputError: another type or shape, or out of range.
    """
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise InputError(
            f"{where}: labels are {y.dtype} of shape {y.shape}, expected integers of shape (N,)",
            hint="one class index a sample; one-hot labels: y.argmax(1)"
            + ("; of numbers: --task regression" if y.ndim == 1 and y.dtype.kind == "f" else ""),
        )
    limit = _MAX_LABEL if classes is None else classes
    low, high = (int(y.min()), int(y.max())) if len(y) else (0, 0)
    if low < 0 or high >= limit:
        wrong = low if low < 0 else high
        raise InputError(
            f"{where}: label {wrong} is out of range",
            hint=f"labels are ≥ 0 and below {limit}; number the classes from 0",
        )
    return y.astype(np.int64)


def softened_divergence(output: "Tensor", taught: "Tensor", temperature: float) -> "Tensor":
    """T²·KL(teacher ‖ student) over probabilities softmax(logits / T) along the second axis, the
    mean over the samples (Hinton et al., arXiv:1503.02531).
    """
    from torch.nn import functional as F

    T = temperature
    student_log = F.log_softmax(output / T, dim=1)
    teacher_log = F.log_softmax(taught / T, dim=1)
    # T² keeps the gradient's size: softening divides it by T twice.
    return F.kl_div(student_log, teacher_log, reduction="batchmean", log_target=True) * T**2
