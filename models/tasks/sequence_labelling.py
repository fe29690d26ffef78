"""A class for each place of a sequence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.models.tasks.classification import softened_divergence
from edgekiln.models.tasks.metric import Metric
from edgekiln.models.tasks.segmentation import pixel_cross_entropy
from edgekiln.models.tasks.task import Array, Arrays, LearningTask, OutputFacts
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SequenceLabelling(LearningTask):
    """Output: (N, T, classes) logits; target: (N, T) class indices, `ignore` at padding. Cross
    entropy; the share of places that are right. Where a class means that there is nothing
    (`outside`), the F1 of all others instead: there, being right is easy.
    """

    ignore: int = -100
    outside: int | None = None

    @property
    def metrics(self) -> tuple[Metric, ...]:
        name = "token accuracy" if self.outside is None else "token F1"
        return (Metric(name=name, unit="%", share=True),)

    def loss(
        self,
        outputs: "Sequence[Tensor]",
        target: "Tensor",
        inputs: "Mapping[str, Tensor]",  # noqa: ARG002
    ) -> "Tensor":
        # (N, T, C) → (N, C, T): classes on the second axis.
        return pixel_cross_entropy(outputs[0].transpose(1, 2), target, self.ignore)

    def teacher_loss(
        self, outputs: "Sequence[Tensor]", taught: "Sequence[Tensor]", temperature: float
    ) -> "Tensor":
        # (N · T, C): each place is a sample.
        ours, theirs = (each[0].flatten(0, 1) for each in (outputs, taught))
        return softened_divergence(ours, theirs, temperature)

    def answer(self, outputs: Sequence[Array], inputs: Arrays, target: Array) -> Array:  # noqa: ARG002
        told: Array = outputs[0].argmax(axis=-1).astype(np.int32)
        return told

    def measure(self, answers: Array, targets: Array) -> tuple[float]:
        known = targets != self.ignore
        told, true = answers[known], targets[known]
        if self.outside is None:
            return (float((told == true).mean()) if len(true) else 0.0,)
        both = int(((told == true) & (true != self.outside)).sum())
        either = int((told != self.outside).sum()) + int((true != self.outside).sum())
        # 2·TP / (2·TP + FP + FN), counted over the tokens of all sequences.
        return (2 * both / either if either else 1.0,)

    def checked(self, where: str, targets: Array) -> Array:
        return checked_tokens(where, targets, self.ignore)

    def classes_in(self, targets: Array) -> int:
        return 1 + int(targets[targets != self.ignore].max(initial=0))

    def wanted(self, facts: OutputFacts) -> tuple[int | None, ...]:
        return (*facts.target_shape, facts.classes)


def checked_tokens(where: str, targets: Array, ignore: int) -> Array:
    """Whole numbers (N, T) as int64, at least 0 or `ignore`. Raises InputError."""
    if targets.ndim != 2 or targets.dtype.kind not in "iu":
        raise InputError(
            f"{where}: targets are {targets.dtype} of shape {targets.shape}, expected whole "
            "numbers of shape (N, length)",
            hint=f"one number a place, {ignore} where there is none",
        )
    tokens = targets.astype(np.int64)
    wrong = tokens[(tokens < 0) & (tokens != ignore)]
    if wrong.size:
        raise InputError(
            f"{where}: target {wrong[0]} is out of range",
            hint=f"they count from 0; {ignore} marks a place without any",
        )
    return tokens
