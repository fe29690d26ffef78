"""Whether somebody likes something."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.models.tasks.metric import AUC, Metric
from edgekiln.models.tasks.multi_label import softened_bernoulli
from edgekiln.models.tasks.ranking import area_under_curve, hit_rate
from edgekiln.models.tasks.task import Array, Arrays, LearningTask, OutputFacts, rows
from edgekiln.runtime.errors import ConfigError, InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Recommendation(LearningTask):
    """Output: one logit for each pair of user and item; target: (N,) 1 where they liked it, else 0.
    Binary cross entropy; the AUC over all pairs; HR@10: the share of liked items that are among the
    first 10 when each is ranked with what its user did not like.
    """

    user: str = ""  # the input that tells users apart; "": the first one
    first: int = 10

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (AUC, Metric(name=f"HR@{self.first}", unit="%", share=True, of_all=True))

    def loss(
        self,
        outputs: "Sequence[Tensor]",
        target: "Tensor",
        inputs: "Mapping[str, Tensor]",  # noqa: ARG002
    ) -> "Tensor":
        from torch.nn import functional as F

        return F.binary_cross_entropy_with_logits(outputs[0].reshape(target.shape), target.float())

    def teacher_loss(
        self, outputs: "Sequence[Tensor]", taught: "Sequence[Tensor]", temperature: float
    ) -> "Tensor":
        return softened_bernoulli(outputs[0], taught[0], temperature)

    def answer(self, outputs: Sequence[Array], inputs: Arrays, target: Array) -> Array:  # noqa: ARG002
        """(N, 2): the logit, and a number of the user."""
        if self.user and self.user not in inputs:
            raise ConfigError(
                f"task recommendation: no input {self.user!r} tells users apart",
                hint=f"the inputs are {', '.join(inputs)}",
            )
        users = inputs[self.user] if self.user else next(iter(inputs.values()))
        # Whoever has the same features is the same user.
        keys = rows(users).astype(np.float64)
        key = keys[:, 0] if keys.shape[1] == 1 else keys @ np.sqrt(np.arange(2, 2 + keys.shape[1]))
        return np.stack([rows(outputs[0])[:, 0].astype(np.float64), key], axis=1)

    def measure(self, answers: Array, targets: Array) -> tuple[float, float]:
        scores, users = answers[:, 0].astype(np.float64), answers[:, 1]
        liked = targets.astype(np.int64) == 1
        rate = hit_rate(scores, liked, users, self.first)
        return area_under_curve(scores, liked), rate

    def checked(self, where: str, targets: Array) -> Array:
        flat = targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets
        if flat.ndim != 1 or not np.isin(flat, (0, 1)).all():
            raise InputError(
                f"{where}: targets are {targets.dtype} of shape {targets.shape}, expected 0 and 1 "
                "of shape (N,)",
                hint="1 for what was liked; of ratings: rating >= 4",
            )
        return flat.astype(np.int64)

    def wanted(self, facts: OutputFacts) -> tuple[int | None, ...]:  # noqa: ARG002
        return (1,)

    def accepts(self, shape: tuple[int, ...], facts: OutputFacts) -> bool:  # noqa: ARG002
        return math.prod(shape) == 1

    def can_judge(self, targets: Array) -> bool:
        return len(np.unique(targets)) > 1
