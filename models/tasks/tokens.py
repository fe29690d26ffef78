"""What tasks of sequences share: a class for each token, and places that do not count."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.models.tasks.classification import softened_divergence
from edgekiln.models.tasks.segmentation import pixel_cross_entropy
from edgekiln.models.tasks.task import Array, LearningTask
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TokenTask(LearningTask):
    """Output: (N, T, classes) logits; target: (N, T) class indices, `ignore` where none counts.
    Cross entropy over all tokens.
    """

    ignore: int = -100

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
        ours, theirs = (self.class_logits(each) for each in (outputs, taught))
        return softened_divergence(ours, theirs, temperature)

    def class_logits(self, outputs: "Sequence[Tensor]") -> "Tensor":
        return outputs[0].flatten(0, 1)  # (N · T, C): each place is a decision

    def checked(self, where: str, targets: Array) -> Array:
        return _checked(where, targets, self.ignore)

    def classes_in(self, targets: Array) -> int:
        return 1 + int(targets[targets != self.ignore].max(initial=0))


def _checked(where: str, targets: Array, ignore: int) -> Array:
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
