"""Real weights that are steps of a scale, block by block: found in the numbers themselves.

What other tools quantized to four bits, a scale and perhaps a zero point for each 32 or 128 weights
of an output, comes in as real numbers. They are (code − zero point) · scale in float32, to the bit,
so the codes can be found again, whatever they went through on their way.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.four_bits import LEAST_WEIGHTS

LEVELS = 16  # of a code
_SIZES = (256, 128, 64, 32, 16)  # of a block, besides all of a row
_TOLD_BY = 8  # weights of a block
_ULPS = (0, 1, -1, 2, -2)  # a quotient may be so far from the scale


@dataclass(frozen=True, kw_only=True)
class WeightBlocks:
    """Weights (rows, k) that are (code - zero point) · scale."""

    size: int  # weights of a block; the last one of a row may have fewer
    codes: NDArray[np.uint8]  # (rows, k), below `LEVELS`
    zeros: NDArray[np.uint8]  # (rows, blocks), below `LEVELS`
    scales: NDArray[np.float32]  # (rows, blocks)


def size_of_blocks(weights: NDArray[np.float32]) -> int | None:
    """The size of the blocks that weights (rows, k) are made of; None where they are not."""
    if weights.size < LEAST_WEIGHTS:
        return None
    k: int = weights.shape[1]
    for size in (k + k % 2, *(size for size in _SIZES if size < k)):
        if _pays(size, k) and _has_blocks(weights, size):
            return size
    return None


def _pays(size: int, k: int) -> bool:
    """Whether a row in blocks takes at most half of what it takes in floats."""
    # A code has half a byte, a block a scale and a byte for the zero point.
    return -(-k // size) * (size // 2 + 5) <= 2 * k


def _has_blocks(weights: NDArray[np.float32], size: int) -> bool:
    """Whether weights are made of blocks of this size. A few rows tell those that nobody quantized,
    but for rows that are anything, such as those of zeros.
    """
    begin, rows = 0, 1
    while begin < len(weights):
        if _blocks(weights[begin : begin + rows], size) is None:
            return False
        begin, rows = begin + rows, rows * 8
    return True


def blocks_of(weights: NDArray[np.float32], size: int) -> WeightBlocks:
    """The codes of weights that are made of blocks of this size."""
    found = _blocks(weights, size)
    assert found is not None
    return found


def _blocks(weights: NDArray[np.float32], size: int) -> WeightBlocks | None:
    rows, k = weights.shape
    count = -(-k // size)
    padded = np.zeros((rows, count * size), np.float32)
    padded[:, :k] = weights
    parts = padded.reshape(rows * count, size)
    most = np.abs(parts).max(axis=1)
    scales = np.zeros(len(parts), np.float32)
    steps = np.zeros(parts.shape, np.int32)
    left = np.flatnonzero(most)
    for code in range(1, LEVELS):
        for ulps in _ULPS:
            if not left.size:
                break
            # The largest weight is `code` steps.
            tried = _moved((most[left] / np.float32(code)).astype(np.float32), ulps)
            # Most scales are wrong for the first weights.
            _, likely = _whole_steps(parts[left, :_TOLD_BY], tried)
            at, tried = left[likely], tried[likely]
            whole, same = _whole_steps(parts[at], tried)
            span = whole.max(axis=1).clip(0) - whole.min(axis=1).clip(None, 0)
            good = same & (span < LEVELS)
            scales[at[good]] = tried[good]
            steps[at[good]] = whole[good].astype(np.int32)
            left = np.setdiff1d(left, at[good], assume_unique=True)
    if left.size:
        return None
    zeros = -steps.min(axis=1).clip(None, 0)
    codes = (steps + zeros[:, None]).reshape(rows, -1)[:, :k]
    return WeightBlocks(
        size=size, codes=codes.astype(np.uint8),
        zeros=zeros.reshape(rows, count).astype(np.uint8), scales=scales.reshape(rows, count),
    )  # fmt: skip


def _whole_steps(
    parts: NDArray[np.float32], scales: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool]]:
    """How many steps of its scale each weight is, and the rows that this gives again."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        whole = np.rint(parts / scales[:, None])
        return whole, (whole * scales[:, None] == parts).all(axis=1)


def _moved(values: NDArray[np.float32], ulps: int) -> NDArray[np.float32]:
    """The floats so many places further on."""
    places: NDArray[np.int32] = values.view(np.int32) + np.int32(ulps)
    return places.view(np.float32)
