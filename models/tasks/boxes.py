"""Boxes: how much two overlap, and how well a row of told ones finds the true ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]  # (…, 4): left, top, right, bottom

# COCO's: the mean over these overlaps, precision at 101 recalls, the 100 surest boxes of a picture.
OVERLAPS = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())
RECALLS = np.linspace(0, 1, 101)
MOST_BOXES = 100


def corners(centered: NDArray[np.floating]) -> Boxes:
    """(…, 4) of center x, center y, width, height as left, top, right, bottom."""
    x, y, width, height = np.moveaxis(centered.astype(np.float64), -1, 0)
    return np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=-1)


def overlaps(ours: Boxes, theirs: Boxes) -> NDArray[np.float64]:
    """Intersection over union of (K, 4) and (M, 4) boxes: (K, M); 0 of two without any area."""
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = [np.prod(np.maximum(each[:, 2:] - each[:, :2], 0), axis=-1) for each in (ours, theirs)]
    either = areas[0][:, None] + areas[1][None, :] - both
    return np.where(either > 0, both / np.where(either > 0, either, 1), 0.0)


@dataclass(frozen=True, kw_only=True)
class Found:
    """The told boxes of one class on one picture, and the true ones there."""

    boxes: Boxes  # (K, 4)
    scores: NDArray[np.float64]  # (K,)
    true: Boxes  # (M, 4)


def average_precision(pictures: Sequence[Found], overlap: float) -> float | None:
    """Average precision of one class: precision at 101 recalls, each the best at this recall or
    above, as COCO computes it. None where there are no true boxes.

    The surest told box takes the true one that it overlaps most, if that is free and by `overlap`
    at least.
    """
    count = sum(len(each.true) for each in pictures)
    if not count:
        return None
    scores = np.concatenate([each.scores for each in pictures])
    hits = np.concatenate([_hits(each, overlap) for each in pictures])
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(hits[order])
    precision = right / np.arange(1, len(right) + 1)
    best_above = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(right / count, RECALLS - 1e-12, side="left")
    reached = place < len(right)
    return (
        float(np.where(reached, best_above[np.minimum(place, len(right) - 1)], 0).mean())
        if (len(right))
        else 0.0
    )


def _hits(found: Found, overlap: float) -> NDArray[np.bool_]:
    shared = overlaps(found.boxes, found.true)
    free = np.ones(len(found.true), bool)
    hits = np.zeros(len(found.boxes), bool)
    for k in np.argsort(-found.scores, kind="stable"):
        candidates = np.where(free & (shared[k] >= overlap), shared[k], -1.0)
        if candidates.size and candidates.max() >= 0:
            hits[k] = True
            free[candidates.argmax()] = False
    return hits
