"""What a bundle's report says of the stages that made its program."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekiln.compiler.quantization.ladder_record import Ladder
from edgekiln.models.tasks.metric import Better, Metric
from edgekiln.models.tasks.tally import Measured
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.hints import ABSENT_WHEN_EMPTY
from edgekiln.runtime.typed import did_you_mean

AGREEMENT = "sqnr_db"  # the metric of data without labels
ALL = ""  # the name of a limit that goes for every task


@dataclass(frozen=True, kw_only=True)
class Score:
    """How good a model is on the held-out samples, by one metric of one of its tasks; without
    labels, how near the float model.

    `metric` is the task's own, such as "accuracy", "auc" or "RMSE"; or "sqnr_db", the signal to
    noise of the outputs, held against the float model's, in dB. A share lies between 0 and 1; its
    unit "%" says that it is shown in percent.
    """

    value: float
    metric: str
    n: int  # samples
    of: int  # samples in the test split; more than `n` where an emulator takes too long
    unit: str = ""
    better: Better = "higher"
    share: bool = True
    head: str = ""  # of a model with several tasks
    top1_agreement: float | None = None  # share with the same largest score; None: none are held
    cosine: float | None = None  # mean cosine between the outputs and the float model's

    @classmethod
    def of_measured(cls, found: Measured, *, n: int, of: int) -> "Score":
        """The score that a measure is, of `n` samples."""
        kind = found.metric
        return cls(
            value=found.value,
            metric=kind.name,
            n=n,
            of=of,
            unit=kind.unit,
            better=kind.better,
            share=kind.share,
            head=found.head,
        )

    @property
    def fault(self) -> str:
        """What no measure says, in words; "" of a score that one may have given."""
        if self.n < 1:
            return f"{self.label} of {self.n} samples"
        if self.share and not 0 <= self.value <= 1:
            return f"{self.label} is {self.value:g}, which is no share"
        return ""

    @property
    def is_agreement(self) -> bool:
        """Whether it is held against the float model, for want of labels."""
        return self.metric == AGREEMENT

    @property
    def kind(self) -> Metric:
        """The metric: how its values are shown and compared."""
        return Metric(name=self.metric, unit=self.unit, better=self.better, share=self.share)

    @property
    def label(self) -> str:
        """The metric, behind the name of its head where there are several."""
        return f"{self.head} {self.metric}".strip()

    @property
    def heading(self) -> str:
        """The label with the unit, and which way is better."""
        return f"{self.head} {self.kind.heading}".strip()

    @property
    def samples(self) -> str:
        """How many it is of, and of how many where an emulator has seen the first ones only."""
        return f"{self.n:,} of {self.of:,}" if self.n < self.of else f"{self.n:,}"

    def __str__(self) -> str:
        return f"{self.value:.1f} dB" if self.is_agreement else self.kind.shown(self.value)


def named(scores: tuple[Score, ...], name: str) -> Score | None:
    """The score that a user means by the name of a head, which is its first metric; of a metric; or
    of both.
    """
    for key in ("label", "head", "metric"):
        for score in scores:
            if name and getattr(score, key) == name:
                return score
    return None


def leading(scores: tuple[Score, ...]) -> tuple[Score, ...]:
    """The first score of each head: what a limit for all tasks is about."""
    return tuple({score.head: score for score in reversed(scores)}[head] for head in _heads(scores))


def limits_by_label(scores: tuple[Score, ...], max_drops: Mapping[str, float]) -> dict[str, float]:
    """What each score may lose, by its label; scores without a limit are left out.

    Args:
        max_drops: by the name of a head or a metric, `ALL` for the first metric of each head.

    Raises:
        ConfigError: no score has such a name.
    """
    limits: dict[str, float] = {}
    if ALL in max_drops:
        limits |= {score.label: max_drops[ALL] for score in leading(scores)}
    # The first name that means a score counts.
    for name, limit in reversed(list(max_drops.items())):
        if name == ALL:
            continue
        score = named(scores, name)
        if score is None:
            known = {n for each in scores for n in (each.head, each.metric) if n}
            raise ConfigError(
                f"--max-drop {name}: no task or metric has this name",
                did_you_mean(name, known, what="there are"),
            )
        limits[score.label] = limit
    return limits


def _heads(scores: tuple[Score, ...]) -> list[str]:
    return list(dict.fromkeys(score.head for score in scores))


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """One stage of the chain; the same on every run."""

    stage: str  # "input" for the user's own file
    target: str = ""  # "" for the stages that all targets share
    sha256: str  # of the artifact
    file_bytes: int  # of a compiled program: code and weights
    score: Score | None = None
    further_scores: tuple[Score, ...] = ()  # other metrics, and those of other heads
    unscored: str = ""  # why there is no score
    parameters: int | None = None
    macs: int | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    # What accuracy control did, of a quantization with a limit.
    ladder: Ladder | None = field(default=None, metadata=ABSENT_WHEN_EMPTY)

    @property
    def scores(self) -> tuple[Score, ...]:
        """All of them."""
        return (self.score, *self.further_scores) if self.score else ()
