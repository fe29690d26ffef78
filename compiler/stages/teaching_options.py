"""What stages that train let a user choose about teachers: declared, checked and handed on once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.stages.augmentation_options import Check, check_of_epochs
from edgekiln.compiler.stages.training_options import TrainingStage
from edgekiln.compiler.stages.uses_module import named_model, require_allowed_teachers
from edgekiln.runtime.errors import ConfigError

if TYPE_CHECKING:
    from edgekiln.compiler.training.loss import Objective
    from edgekiln.targets.profile import TargetProfile

# Teachers that are no models of their own: what a network was before, and what it is on average.
SELF, AVERAGE = "self", "ema"
# Above it all classes are alike, and its square, by which losses are multiplied, grows without end.
_HOTTEST = 1000.0
_TEMPERATURES = f"give a positive number up to {_HOTTEST:g}, such as 4"


@dataclass(frozen=True, kw_only=True)
class TeachingStage(TrainingStage):
    """A stage whose network may learn from teachers."""

    teacher: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Learn from this teacher: a zoo name, package.module:factory, .pt file, self "
            "(what the network was before) or ema (the average of its weights); again for more."
        },
    )
    teacher_weight: tuple[float, ...] = field(
        default=(),
        metadata={
            "help": "Let the teachers count by these weights, one each in their order (default: "
            "all the same)."
        },
    )
    teacher_epochs: int = field(
        default=20, metadata={"help": "Train a teacher from the zoo for this many epochs first."}
    )
    teacher_views: int = field(
        default=0,
        metadata={
            "help": "Show this many augmented views of the samples, epoch by epoch in turn, and "
            "keep the teachers' answers to them in the store; 0 shows new ones, and asks, always."
        },
    )
    distillation: Literal["logits", "standardized", "dist"] = field(
        default="logits",
        metadata={
            "help": "Learn the teacher's probabilities of classes, those of logits standardized "
            "by sample, or how these correlate between classes and samples (DIST)."
        },
    )
    alpha: float = field(
        default=0.7,
        metadata={
            "help": "Weigh the teacher's loss by this, from 0 to 1; the labels' gets the rest."
        },
    )
    alpha_end: float | None = field(
        default=None,
        metadata={"help": "Let alpha go to this until the last step (default: it stays)."},
    )
    temperature: float = field(
        default=4.0,
        metadata={
            "help": "Divide the teacher's and the student's logits by this, which softens their "
            "probabilities."
        },
    )
    temperature_end: float | None = field(
        default=None,
        metadata={
            "help": "Let the temperature go to this until the last step (default: it stays)."
        },
    )
    teacher_ramp: Literal["linear", "cosine"] = field(
        default="linear",
        metadata={"help": "Let alpha and the temperature go there evenly, or by half a cosine."},
    )
    hint: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Let a layer learn from the teacher's, student.layer=teacher.layer, or auto: "
            "the ends of their stages; again for more."
        },
    )
    hint_weight: float = field(
        default=1.0, metadata={"help": "Weigh the distance between those layers by this."}
    )

    @property
    def has_teacher(self) -> bool:
        """Whether anybody teaches; a stage may have a teacher of its own."""
        return bool(self.teacher)

    def require_allowed(self, src: Artifact | None, allow: frozenset[str]) -> None:
        super().require_allowed(src, allow)
        require_allowed_teachers(self.teacher, allow)

    def checks(self) -> tuple[Check, ...]:
        return (
            *super().checks(),
            ("teacher", len(set(self.teacher)) == len(self.teacher), "name each teacher once"),
            ("teacher", not self._averages or self.ema > 0, "ema needs --ema, such as 0.99"),
            (
                "teacher_weight",
                len(self.teacher_weight) in (0, len(self.teacher))
                and all(weight > 0 for weight in self.teacher_weight),
                "give as many positive numbers as there are teachers",
            ),
            check_of_epochs("teacher_epochs", self.teacher_epochs, 0, "give 0 or more"),
            ("teacher_views", self.teacher_views >= 0, "give 0 (always new ones) or more"),
            (
                "teacher_views",
                not self.teacher_views or (self.has_teacher and not self._averages),
                "name a --teacher whose answers can be kept; ema has others after each step",
            ),
            (
                "teacher_views",
                not self.teacher_views or not self.hint,
                "answers are kept, inner layers are not: leave --hint or this out",
            ),
            ("alpha", 0 <= self.alpha <= 1, "give a number from 0 to 1"),
            (
                "alpha_end",
                self.alpha_end is None or 0 <= self.alpha_end <= 1,
                "give a number from 0 to 1",
            ),
            ("temperature", 0 < self.temperature <= _HOTTEST, _TEMPERATURES),
            (
                "temperature_end",
                self.temperature_end is None or 0 < self.temperature_end <= _HOTTEST,
                _TEMPERATURES,
            ),
            *(
                (name, self.has_teacher or not given, "name a --teacher, or leave it out")
                for name, given in (
                    ("distillation", self.distillation != "logits"),
                    ("alpha_end", self.alpha_end is not None),
                    ("temperature_end", self.temperature_end is not None),
                )
            ),
            (
                "hint",
                not self.hint
                or (self.has_teacher and len(self.teacher) <= 1 and not self._averages),
                "layers learn from those of one teacher, which is another network than ema",
            ),
            ("hint_weight", self.hint_weight > 0, "give a positive number"),
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher and self.training_step:
            raise ConfigError(
                f"{self.name}: a teacher and a training-step of your own",
                hint="a step gets the model and a batch: let it ask the teacher itself",
            )

    def uses(self, src: Artifact | None, target: "TargetProfile | None") -> Mapping[str, str]:
        own = {
            f"teacher {place}": named_model(name)
            for place, name in enumerate(self.teacher, start=1)
            if name not in (SELF, AVERAGE)
        }
        return {**super().uses(src, target), **own}

    def objective(self, task: str) -> "Objective":
        """What training for `task` minimises by these options.

        Raises:
            ConfigError: the distillation is of classes, and the task has none.
        """
        from edgekiln.compiler.training.imitation import Imitation, Ramp, check_imitation
        from edgekiln.compiler.training.loss import Objective
        from edgekiln.compiler.training.step import training_step

        objective = Objective(
            task=task,
            imitation=Imitation(
                by=self.distillation,
                alpha=Ramp(start=self.alpha, end=self.alpha_end, form=self.teacher_ramp),
                temperature=Ramp(
                    start=self.temperature, end=self.temperature_end, form=self.teacher_ramp
                ),
                hint_weight=self.hint_weight,
                shares=self._shares(),
            ),
            label_smoothing=self.label_smoothing,
            step=training_step(self.training_step),
        )
        check_imitation(objective.imitation, objective.heads)
        return objective

    @property
    def _averages(self) -> bool:
        return AVERAGE in self.teacher

    def _shares(self) -> tuple[float, ...]:
        """How much each teacher counts, the average of the weights last, as lessons have it."""
        weights = self.teacher_weight or (1.0,) * len(self.teacher)
        named = sorted(zip(self.teacher, weights, strict=True), key=_average_last)
        total = sum(weights)
        return tuple(weight / total for _, weight in named)


def _average_last(teacher: tuple[str, float]) -> bool:
    return teacher[0] == AVERAGE
