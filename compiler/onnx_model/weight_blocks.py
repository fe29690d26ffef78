"""Weights of four bits in blocks, each with a factor: found in the numbers themselves.

What other tools quantized to four bits, a scale and perhaps a zero point for each 32 or 128 weights
of an output, comes in as real numbers. They are (code − zero point) · scale in float32, to the bit,
so the codes can be found again, whatever they went through on their way. Codes of int8 that our
quantizer made are (code − 8) · factor in integers, with one scale for all of a channel.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.four_bits import LEAST, LEAST_WEIGHTS, MOST

LEVELS = 16  # of a code
MOST_FACTOR = 127 // MOST  # of integers: so that a product is an int8
_SIZES = (256, 128, 64, 32, 16)  # of a block, besides all of a row
_TOLD_BY = 8  # weights of a block
_ULPS = (0, 1, -1, 2, -2)  # a quotient may be so far from the scale


@dataclass(frozen=True, kw_only=True)
class WeightBlocks:
    """Weights (rows, k) that are (code - zero) · factor; of integers every zero is 8."""

    size: int  # weights of a block; the last one of a row may have fewer
    codes: NDArray[np.uint8]  # (rows, k), below `LEVELS`
    zeros: NDArray[np.uint8]  # (rows, blocks), below `LEVELS`
    factors: NDArray[np.generic]  # (rows, blocks), float32 or int8


def size_of_blocks(weights: NDArray[np.generic]) -> int | None:
    """The size of the blocks that weights (rows, k) of float32 or int8 are made of; None where they
    are not.
    """
    if weights.size < LEAST_WEIGHTS:
        return None
    k: int = weights.shape[1]
    floats = weights.dtype == np.float32
    # One factor for a row of integers is its scale's.
    whole = [k + k % 2] if floats else []
    for size in (*whole, *(size for size in _SIZES if size < k)):
        if _pays(size, k, floats=floats) and _has_blocks(weights, size):
            return size
    return None


def _pays(size: int, k: int, *, floats: bool) -> bool:
    """Whether a row in blocks takes at most half of what it takes in floats, or four fifths of what
    it takes in bytes.
    """
    # A code has half a byte, a block a scale and a byte for the zero point; of integers a factor
    # for each byte that a step has.
    taken = -(-k // size) * (size // 2 + (5 if floats else 4))
    return taken <= (2 if floats else 0.8) * k


def _has_blocks(weights: NDArray[np.generic], size: int) -> bool:
    """Whether weights are made of blocks of this size. A few rows tell those that nobody quantized,
    but for rows that are anything, such as those of zeros.
    """
    begin, rows = 0, 1
    while begin < len(weights):
        if _blocks(weights[begin : begin + rows], size) is None:
            return False
        begin, rows = begin + rows, rows * 8
    return True


def blocks_of(weights: NDArray[np.generic], size: int) -> WeightBlocks:
    """The codes of weights that are made of blocks of this size."""
    found = _blocks(weights, size)
    assert found is not None
    return found


def _blocks(weights: NDArray[np.generic], size: int) -> WeightBlocks | None:
    rows, k = weights.shape
    count = -(-k // size)
    padded = np.zeros((rows, count * size), weights.dtype)
    padded[:, :k] = weights
    parts = padded.reshape(rows * count, size)
    floats = weights.dtype == np.float32
    found = _of_floats(parts.astype(np.float32)) if floats else _of_integers(parts)
    if found is None:
        return None
    codes, zeros, factors = found
    return WeightBlocks(
        size=size, codes=codes.reshape(rows, -1)[:, :k].astype(np.uint8),
        zeros=zeros.reshape(rows, count).astype(np.uint8), factors=factors.reshape(rows, count),
    )  # fmt: skip


# Codes and, of each block, the zero and the factor.
_Found = tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.generic]] | None


def _of_integers(parts: NDArray[np.generic]) -> _Found:
    """Those of int8 blocks (blocks, size)."""
    values = parts.astype(np.int32)
    factors = np.zeros(len(parts), np.int8)
    for factor in range(1, MOST_FACTOR + 1):
        steps = values // factor
        same = (steps * factor == values) & (steps >= LEAST) & (steps <= MOST)
        # The smallest that serves.
        factors[same.all(axis=1) & (factors == 0)] = factor
    if not factors.all():
        return None
    codes = values // factors[:, None] - LEAST
    return codes, np.full(len(parts), -LEAST), factors


def _of_floats(parts: NDArray[np.float32]) -> _Found:
    """Those of float32 blocks (blocks, size)."""
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
    return steps + zeros[:, None], zeros, scales


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
