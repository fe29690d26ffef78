"""Measures of an order: is what should be above above?"""

import numpy as np
from numpy.typing import NDArray

from edgekiln.runtime.errors import InputError


def area_under_curve(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
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


def hit_rate(
    scores: NDArray[np.floating],
    positive: NDArray[np.bool_],
    groups: NDArray[np.generic],
    first: int,
) -> float:
    """Share of positive samples that are among the `first` of their group, each ranked against the
    group's negatives alone; ties count against it (He et al., arXiv:1708.05031, section 4.1).
    """
    hits: list[NDArray[np.bool_]] = []
    for group in np.unique(groups[positive]):
        inside = groups == group
        negatives = np.sort(scores[inside & ~positive])
        ours = scores[inside & positive]
        above = len(negatives) - np.searchsorted(negatives, ours, side="left")
        hits.append(above < first)
    return float(np.concatenate(hits).mean()) if hits else 0.0
