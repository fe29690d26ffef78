"""A vector for each sample, near those of its own kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.tasks.classification import checked_labels
from edgekiln.models.tasks.metric import Metric
from edgekiln.models.tasks.task import Array, Arrays, LearningTask, OutputFacts, rows

if TYPE_CHECKING:
    from torch import Tensor

    from edgekiln.models.tasks.motion import Motion

_AT_ONCE = 1024  # queries, whose cosines to all others are held together


@dataclass(frozen=True, kw_only=True)
class Embedding(LearningTask):
    """Output: (N, D) vectors of any length; target: (N,) indices of what is on the sample. The
    supervised contrastive loss of Khosla et al., arXiv:2004.11362, equation 2; recall@1: the share
    of samples whose nearest other one, by cosine, is of the same kind.
    """

    softness: float = 0.1  # the paper's temperature

    has_classes: ClassVar[bool] = True

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (Metric(name="recall@1", unit="%", share=True, of_all=True),)

    def loss(
        self,
        outputs: "Sequence[Tensor]",
        target: "Tensor",
        inputs: "Mapping[str, Tensor]",  # noqa: ARG002
    ) -> "Tensor":
        import torch
        from torch.nn import functional as F

        unit = F.normalize(outputs[0].flatten(1), dim=1)
        own = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        likeness = (unit @ unit.T / self.softness).masked_fill(own, -1e9)
        log_p = likeness - likeness.logsumexp(dim=1, keepdim=True)
        same = (target[:, None] == target[None, :]) & ~own
        count = same.sum(dim=1)
        # A sample that is alone of its kind in the batch has nothing to be near to.
        per_sample = (log_p * same).sum(dim=1)[count > 0] / count[count > 0]
        return -per_sample.mean() if len(per_sample) else unit.sum() * 0

    def teacher_loss(
        self,
        outputs: "Sequence[Tensor]",
        taught: "Sequence[Tensor]",
        temperature: float,  # noqa: ARG002
    ) -> "Tensor":
        """One less the mean cosine to the teacher's vectors; between them, where sizes differ."""
        from torch.nn import functional as F

        ours, theirs = (F.normalize(each[0].flatten(1), dim=1) for each in (outputs, taught))
        if ours.shape == theirs.shape:
            return 1 - (ours * theirs).sum(dim=1).mean()
        return F.mse_loss(ours @ ours.T, theirs @ theirs.T)

    def answer(self, outputs: Sequence[Array], inputs: Arrays, target: Array) -> Array:  # noqa: ARG002
        return rows(outputs[0])

    def measure(self, answers: Array, targets: Array) -> tuple[float]:
        return (float((targets[nearest(answers)] == targets).mean()),)

    def checked(self, where: str, targets: Array) -> Array:
        return checked_labels(where, targets, None)

    def classes_in(self, targets: Array) -> int:
        return 1 + int(targets.astype(np.int64).max(initial=-1))

    def wanted(self, facts: OutputFacts) -> tuple[int | None, ...]:  # noqa: ARG002
        return (None,)

    def moved(self, target: "Tensor", motion: "Motion") -> "Tensor":  # noqa: ARG002
        return target


def nearest(vectors: Array) -> NDArray[np.int64]:
    """Find the other row with the largest cosine for each row of (N, D): its index, the first of
    equals.
    """
    real = vectors.astype(np.float64)
    unit = real / np.maximum(np.linalg.norm(real, axis=1, keepdims=True), 1e-30)
    found = np.empty(len(unit), np.int64)
    for start in range(0, len(unit), _AT_ONCE):
        part = unit[start : start + _AT_ONCE]
        likeness = part @ unit.T
        likeness[np.arange(len(part)), np.arange(start, start + len(part))] = -np.inf
        found[start : start + len(part)] = likeness.argmax(axis=1)
    return found
