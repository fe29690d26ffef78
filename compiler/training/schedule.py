"""The learning rate as a function of the step, so resuming needs no scheduler's state; what does
depend on how training went is `Plateau`.
"""

import math
from dataclasses import dataclass
from typing import Literal

from edgekiln.compiler.training.checkpoint import State

ScheduleName = Literal["cosine", "one-cycle", "linear", "constant", "plateau"]

# Of a one-cycle: what of the peak it begins with and what it ends with, as torch's OneCycleLR.
_BEGIN, _END = 1 / 25, 1 / 250_000
# Of a plateau: fall by this factor after so many epochs without a gain.
_FALL, _EPOCHS = 0.2, 4


def learning_rate(
    step: int, *, peak: float, total: int, warmup: int, schedule: ScheduleName = "cosine"
) -> float:
    """The rate of a step: a rise over `warmup` steps to `peak`, then a fall until `total`.

    The rise is a straight line, the fall half a cosine to 0, a straight line to 0 ("linear"), or
    none. "one-cycle" (Smith, Topin, arXiv:1708.07120) rises and falls by half a cosine each.
    """
    if step < warmup:
        if schedule == "one-cycle":
            return peak * (_BEGIN + (1 - _BEGIN) * _half_cosine(1 - step / warmup))
        return peak * (step + 1) / warmup  # not 0 in the first step
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    match schedule:
        case "cosine":
            return peak * _half_cosine(progress)
        case "one-cycle":
            return peak * (_END + (1 - _END) * _half_cosine(progress))
        case "linear":
            return peak * (1 - progress)
        case "constant" | "plateau":
            return peak


def _half_cosine(progress: float) -> float:
    """A half wave that falls from 1 to 0 while progress goes from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))


@dataclass
class Plateau:
    """Lets the rate fall whenever validation no longer gains."""

    factor: float = 1.0  # of the learning rate
    fell: int = 0  # the last epoch in which it fell

    def after(self, epoch: int, improved: int) -> None:
        """Take note of an epoch; `improved` is the last one that was a gain."""
        if epoch - max(improved, self.fell) >= _EPOCHS:
            self.factor, self.fell = self.factor * _FALL, epoch

    def state_dict(self) -> State:
        """Everything `restored` needs."""
        return dict(vars(self))

    @classmethod
    def restored(cls, saved: State) -> "Plateau":
        """What `state_dict` came from."""
        return cls(**saved)
