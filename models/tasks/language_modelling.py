"""The next token of a text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekiln.models.tasks.metric import Metric
from edgekiln.models.tasks.task import Array, Arrays, OutputFacts
from edgekiln.models.tasks.tokens import TokenTask


@dataclass(frozen=True, kw_only=True)
class LanguageModelling(TokenTask):
    """Output: (N, T, vocabulary) logits; target: (N, T), at each place the token that comes next,
    `ignore` where none does. Cross entropy; perplexity, e to the mean of it over all tokens.
    """

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (Metric(name="perplexity", better="lower"),)

    def answer(self, outputs: Sequence[Array], inputs: Arrays, target: Array) -> Array:  # noqa: ARG002
        """How unlikely each token was that came: (N, T), nats; 0 where none did. Of all other
        tokens nothing is kept: a vocabulary is large.
        """
        logits = outputs[0].astype(np.float64)
        top = logits.max(axis=-1, keepdims=True)
        log_sum = np.log(np.exp(logits - top).sum(axis=-1)) + top[..., 0]
        known = target != self.ignore
        at = np.where(known, target, 0).astype(np.int64)[..., None]
        picked = np.take_along_axis(logits, at, axis=-1)[..., 0]
        return np.where(known, log_sum - picked, 0.0).astype("<f4")

    def measure(self, answers: Array, targets: Array) -> tuple[float]:
        count = int((targets != self.ignore).sum())
        mean = float(answers.astype(np.float64).sum()) / max(count, 1)
        return (math.exp(min(mean, 700.0)),)  # e to more than that is no number

    def wanted(self, facts: OutputFacts) -> tuple[int | None, ...]:
        return (*facts.target_shape, None)

    def accepts(self, shape: tuple[int, ...], facts: OutputFacts) -> bool:
        # The vocabulary may hold tokens that no sample has.
        return super().accepts(shape, facts) and shape[-1] >= facts.classes
