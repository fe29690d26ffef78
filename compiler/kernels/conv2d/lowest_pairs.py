"""Pairs of weights that are -128 both: with two such codes they make 2¹⁵, which is no int16.

Quantizers that are symmetric leave none; models of others may have some.
"""

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.kernels.epilogue.sums import Weights

_LOWEST = -128


def may_be_in(weight: Weights) -> bool:
    """Whether (OC, IC, KH, KW) weights have such a pair, or those may have one that they stand for:
    neighbours in a row of the filter, whose pairs begin with its first weight.
    """
    return bool(_pairs(weight).any())


def kept(weight: Weights, erased: Weights) -> Weights:
    """Return what stands for all weights with the same code, with a pair where they have any."""
    if erased.any() or not may_be_in(weight):
        return erased
    rows = np.zeros_like(_rows(weight))
    rows[0, 0, :2] = _LOWEST
    oc, ic, kh, kw = weight.shape
    marked: Weights = rows.reshape(oc, kh, kw, ic).transpose(0, 3, 1, 2)
    return marked


def _rows(weight: Weights) -> Weights:
    """(OC, KH, elements of a row), as they lie side by side in an image."""
    oc, _, kh, _ = weight.shape
    rows: Weights = weight.transpose(0, 2, 3, 1).reshape(oc, kh, -1)
    return rows


def _pairs(weight: Weights) -> NDArray[np.bool_]:
    rows = _rows(weight)
    whole = rows.shape[2] // 2 * 2
    lowest = (rows[:, :, :whole] == _LOWEST) & (weight.dtype == np.int8)
    both: NDArray[np.bool_] = lowest[:, :, ::2] & lowest[:, :, 1::2]
    return both
