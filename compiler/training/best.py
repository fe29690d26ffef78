"""The best weights so far, which a training ends with."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgekiln.compiler.training.checkpoint import State
from edgekiln.compiler.training.score import SplitScore
from edgekiln.models.tasks.heads import Head

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@dataclass
class Best:
    """Where a training was best on the validation split."""

    value: float = -math.inf
    improved: int = 0  # the epoch that last raised `value`
    epoch: int = 0  # the epoch kept, 0 for the start: of equal values, that of the lowest loss
    score: SplitScore = field(default_factory=lambda: SplitScore(math.nan))  # of the weights kept
    state: dict[str, "Tensor"] = field(default_factory=dict)

    def offer(self, score: SplitScore, epoch: int, state: "Mapping[str, Tensor]") -> None:
        """Keep a copy of `state`, the weights after `epoch`, if they are better."""
        better = score.value > self.value
        if not (better or (score.value == self.value and score.loss < self.score.loss)):
            return
        # An equal value with less loss is kept, but does not count as a gain when patience is
        # measured.
        self.value, self.epoch, self.score = score.value, epoch, score
        self.improved = epoch if better else self.improved
        self.state = {name: tensor.clone() for name, tensor in state.items()}

    def state_dict(self) -> State:
        """Everything `restored` needs."""
        return {**vars(self), "score": self.score.numbers()}

    @classmethod
    def restored(cls, saved: State, heads: Sequence[Head]) -> "Best":
        """What `state_dict` came from, of a network with these heads."""
        return cls(**{**saved, "score": SplitScore.of_numbers(saved["score"], heads)})
