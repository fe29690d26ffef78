"""What a bundle's report says of the stages that made its program."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Score:
    """How good a model is on the held-out samples."""

    value: float  # accuracy in [0, 1], or what `metric` says
    metric: str
    n: int  # samples
    of: int  # samples in the test split; more than `n` where an emulator takes too long


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
