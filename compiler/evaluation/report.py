"""How good a model is: what an evaluation reports, and how it is computed from the answers."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a model takes, whatever it is worth."""

    parameters: int | None  # None for a compiled program
    macs: int  # of one sample
    file_bytes: int  # of a compiled program: code and weights


@dataclass(frozen=True, kw_only=True)
class Evaluation(Costs):
    """The report of one model on the test split."""

    metric: Literal["accuracy", "auc"]
    accuracy: float  # the metric, in [0, 1]
    n: int  # samples
    of: int  # samples in the test split; more than `n`, where an emulator takes too long
    predictions_sha256: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """What answers are held against."""

    name: str  # of the data set
    task: str
    classes: int  # how many there are
    truth: "NDArray[np.int64]"  # (N,)


def evaluation(outputs: "NDArray[np.float32]", by: Judged, costs: Costs) -> Evaluation:
    """Judge the answers to the first samples of the test split.

    Args:
        outputs: (N, classes), or (N,) reconstruction errors.

    Raises:
        InputError: fewer outputs than classes, NaN among them, or all samples are of one kind.
    """
    if lost := int(np.isnan(outputs).reshape(len(outputs), -1).any(axis=1).sum()):
        raise InputError(
            f"the model's outputs are NaN on {lost} of {len(outputs)} test samples",
            hint="check its weights, and the data's scale, mean and std",
        )
    truth = by.truth[: len(outputs)]
    metric: Literal["accuracy", "auc"]
    if by.task == "reconstruction":
        metric, value = "auc", area_under_curve(outputs, truth != 0)
        answers: NDArray[np.generic] = outputs.astype("<f4")
    else:
        if outputs.shape[1] < by.classes:
            raise InputError(
                f"the model tells {outputs.shape[1]} classes apart, {by.name} has {by.classes}",
                hint="give the data the model was trained on",
            )
        answers = outputs.argmax(axis=1).astype("<i8")
        metric, value = "accuracy", float((answers == truth).mean())
    return Evaluation(
        parameters=costs.parameters,
        macs=costs.macs,
        file_bytes=costs.file_bytes,
        metric=metric,
        accuracy=value,
        n=len(outputs),
        of=len(by.truth),
        predictions_sha256=hashlib.sha256(np.ascontiguousarray(answers).data).hexdigest(),
    )


def area_under_curve(scores: "NDArray[np.float32]", positive: "NDArray[np.bool_]") -> float:
    """Area under the ROC curve: the chance that a positive sample scores above a negative one.

    By ranks, ties counting half: (Σ ranks of positives − n₊(n₊+1)/2) / (n₊ n₋), the Mann–Whitney U.

    Raises:
        InputError: all samples are of one kind.
    """
    count = int(positive.sum())
    if count in (0, len(positive)):
        raise InputError(
            "the test split holds only one kind of sample: no AUC",
            hint="give data with normal samples (label 0) and anomalies (label 1)",
        )
    _, place, repeats = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(repeats) - (repeats - 1) / 2)[place]  # ties share their mean rank
    above = ranks[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(positive) - count)))


def reconstruction_errors(
    x: "NDArray[np.generic]", y: "NDArray[np.float32]"
) -> "NDArray[np.float32]":
    """Mean squared reconstruction error of each sample: (N,).

    Raises:
        InputError: `y`, (N, features), has another size than `x`.
    """
    flat = x.reshape(len(x), -1).astype(np.float32, copy=False)
    if flat.shape != y.shape:
        raise InputError(f"the model turns {flat.shape[1:]} into {y.shape[1:]}: no reconstruction")
    errors: NDArray[np.float32] = np.mean((flat - y) ** 2, axis=1)
    return errors
