"""The best weights so far, which a training ends with."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgekiln.compiler.training.score import SplitScore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@dataclass
class Best:
    """Where a training was best on the validation split. `vars` of it goes into checkpoints."""

    value: float = -math.inf
    improved: int = 0  # the epoch that last raised `value`
    epoch: int = 0  # the epoch kept, 0 for the start: of equal values, that of the lowest loss
    loss: float = math.nan
    accuracy: float | None = None
    state: dict[str, "Tensor"] = field(default_factory=dict)

    @property
    def score(self) -> SplitScore:
        """The score of the weights kept."""
        return SplitScore(self.loss, self.accuracy)

    def offer(self, score: SplitScore, epoch: int, state: "Mapping[str, Tensor]") -> None:
        """Keep a copy of `state`, the weights after `epoch`, if they are better."""
        better = score.value > self.value
        if not (better or (score.value == self.value and score.loss < self.loss)):
            return
        self.value, self.epoch = score.value, epoch
        # An equal value with less loss is kept, but does not count as a gain when patience is
        # measured.
        self.improved = epoch if better else self.improved
        self.loss, self.accuracy = score.loss, score.accuracy
        self.state = {name: tensor.clone() for name, tensor in state.items()}
