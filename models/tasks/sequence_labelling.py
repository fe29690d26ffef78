"""A class for each place of a sequence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekiln.models.tasks.metric import Metric
from edgekiln.models.tasks.task import Array, Arrays, OutputFacts
from edgekiln.models.tasks.tokens import TokenTask


@dataclass(frozen=True, kw_only=True)
class SequenceLabelling(TokenTask):
    """Output: (N, T, classes) logits; target: (N, T) class indices, `ignore` at padding. Cross
    entropy; the share of places that are right. Where a class means that there is nothing
    (`outside`), the F1 of all others instead: there, being right is easy.
    """

    outside: int | None = None

    @property
    def metrics(self) -> tuple[Metric, ...]:
        name = "token accuracy" if self.outside is None else "token F1"
        return (Metric(name=name, unit="%", share=True),)

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

    def wanted(self, facts: OutputFacts) -> tuple[int | None, ...]:
        return (*facts.target_shape, facts.classes)
