"""What came of a training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekiln.compiler.training.precision import Precision
from edgekiln.compiler.training.score import SplitScore


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What came of a training."""

    epochs: int  # run, of those asked for
    best_epoch: int  # counted from 1, its weights were kept; 0: those that training began with
    start: SplitScore  # of the weights that training began with, on the validation split
    score: SplitScore  # of the kept weights, likewise: never worse
    precision: Precision
    history: Sequence[Mapping[str, float]] = ()  # what was measured in each epoch
