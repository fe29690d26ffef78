"""How a network is trained: all that `fit` can be told."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from edgekiln.compiler.training.augment import Augment
from edgekiln.compiler.training.optimizer import OptimizerName
from edgekiln.compiler.training.precision import Precision
from edgekiln.compiler.training.schedule import ScheduleName


@dataclass(frozen=True, kw_only=True)
class FitPhase:
    """A run of epochs that see the samples in the same way."""

    epochs: int
    augment: Augment = field(default_factory=Augment)
    resolution: int = 0  # pixels of both sides of training images; 0: as they are
    # With a rate of its own a phase begins a new course of the learning rate, which the phases
    # after it that have none belong to.
    learning_rate: float | None = None


@dataclass(frozen=True, kw_only=True)
class Course:
    """Epochs over which the learning rate rises and falls once."""

    start: int  # the epoch it begins with, counted from 0
    epochs: int
    peak: float


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How to train. `ema` 0: no averaging; `patience` 0: no early stopping; `clip` 0: no limit."""

    epochs: int
    batch_size: int = 64
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 2e-3
    schedule: ScheduleName = "cosine"
    weight_decay: float = 1e-2
    warmup_epochs: float = 1.0
    ema: float = 0.99
    clip: float = 1.0  # largest norm of all gradients together
    patience: int = 0
    augment: Augment = field(default_factory=Augment)
    # What comes after another, as many epochs as `epochs`; (): one phase of all of them.
    phases: Sequence[FitPhase] = ()
    precision: Precision = "float32"
    seed: int = 0
    # False: the last epoch's weights are kept, whatever the validation split says of them.
    keep_best: bool = True

    def phase_at(self, epoch: int) -> FitPhase:
        """The phase that an epoch, counted from 0, belongs to."""
        ends = accumulate(phase.epochs for phase in self.all_phases)
        for phase, end in zip(self.all_phases, ends, strict=True):
            if epoch < end:
                return phase
        return self.all_phases[-1]

    def course_at(self, epoch: int) -> Course:
        """The course of the learning rate that an epoch, counted from 0, belongs to."""
        courses: list[Course] = []
        start = 0
        for phase in self.all_phases:
            if not courses or phase.learning_rate is not None:
                peak = phase.learning_rate or self.learning_rate
                courses.append(Course(start=start, epochs=phase.epochs, peak=peak))
            else:
                last = courses[-1]
                courses[-1] = replace(last, epochs=last.epochs + phase.epochs)
            start += phase.epochs
        begun = [course for course in courses if course.start <= epoch]
        return begun[-1]

    @property
    def all_phases(self) -> Sequence[FitPhase]:
        """The phases, one at least."""
        return self.phases or (FitPhase(epochs=self.epochs, augment=self.augment),)
