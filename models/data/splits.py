"""Stratified, seeded, disjoint splits."""

import numpy as np
from numpy.typing import NDArray

from edgekiln.runtime.errors import ConfigError


def stratified_order(y: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A seeded order of all samples in which every stretch holds the classes in proportion.

    Samples are shuffled, numbered within their class, and sorted by that number's share of the
    class.
    """
    shuffled = np.random.default_rng(seed).permutation(len(y))
    labels = y[shuffled]
    share = np.empty(len(y))
    for label in np.unique(labels):
        (members,) = np.nonzero(labels == label)
        # + 0.5: the only sample of a small class lies in the middle, and not before all others.
        share[members] = (np.arange(len(members)) + 0.5) / len(members)
    return shuffled[np.argsort(share, kind="stable")].astype(np.int64)


def size_of(option: str, text: str, total: int) -> int:
    """A split's size, at most `total`: `"0.1"` is a share of it, `"100"` a count.

    Raises:
        ConfigError: not a number, or negative.
    """
    try:
        number = float(text)
        if not 0 <= number < float("inf"):
            raise ValueError(text)
    except ValueError:
        raise ConfigError(
            f"data option {option}={text}: not a size",
            hint="a share below 1, such as 0.1, or a count, such as 500",
        ) from None
    return round(number * total) if number < 1 else min(int(number), total)
