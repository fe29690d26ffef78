"""What a bundle's report says of the stages that made its program."""

from collections.abc import Mapping
from dataclasses import dataclass, field

AGREEMENT = "sqnr_db"  # the metric of data without labels


@dataclass(frozen=True, kw_only=True)
class Score:
    """How good a model is on the held-out samples; without labels, how near the float model.

    `metric` is "accuracy" or "auc", in [0, 1]; or "sqnr_db", the signal to noise of the outputs,
    held against the float model's, in dB.
    """

    value: float
    metric: str
    n: int  # samples
    of: int  # samples in the test split; more than `n` where an emulator takes too long
    top1_agreement: float | None = None  # share with the same largest score; None: none are held
    cosine: float | None = None  # mean cosine between the outputs and the float model's

    @property
    def is_agreement(self) -> bool:
        """Whether it is held against the float model, for want of labels."""
        return self.metric == AGREEMENT

    def __str__(self) -> str:
        if self.is_agreement:
            return f"{self.value:.1f} dB"
        return f"{self.value:.2%}" if self.metric == "accuracy" else f"{self.value:.4f}"


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """One stage of the chain; the same on every run."""

    stage: str  # "input" for the user's own file
    target: str = ""  # "" for the stages that all targets share
    sha256: str  # of the artifact
    file_bytes: int  # of a compiled program: code and weights
    score: Score | None = None
    unscored: str = ""  # why there is no score
    parameters: int | None = None
    macs: int | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
