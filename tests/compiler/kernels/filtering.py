"""How far Winograd's filtering in float32 may be from the exact sums."""

import numpy as np

from edgekiln.compiler.kernels.conv2d.winograd import FILTER, TILE, WINDOW
from tests.compiler.kernels.convolutions import Case
from tests.compiler.kernels.floats import UNIT
from tests.compiler.kernels.harness import Array

# The matrices of arXiv:1509.09308, section 4.3.
_B = np.array([
    [4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
])  # fmt: skip
_G = np.array([
    [1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1],
])  # fmt: skip
_A = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
_ROUNDINGS = 40  # of one product on its way through the transforms; its sum has a term a channel


def may_be_filtered(case: Case, result: tuple[int, ...]) -> bool:
    plain = case.strides == case.dilations == (1, 1) and case.groups == 1
    return plain and case.kernel == (FILTER, FILTER) and min(result[2:]) >= TILE


def filtering_error(x: Array, weight: Array, bias: Array, pads: tuple[int, int, int, int]) -> Array:
    """A bound for (n, oc, h, w) results: the sums of all magnitudes, by the roundings of each
    (N. Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1).

    Args:
        x, weight, bias: magnitudes.
    """
    a, b, g = np.abs(_A), np.abs(_B), np.abs(_G)
    top, left, bottom, right = pads
    padded = np.pad(x.astype(float), ((0, 0), (0, 0), (top, bottom), (left, right)))
    h, w = (extent - FILTER + 1 for extent in padded.shape[2:])
    points = g @ weight.astype(float) @ g.T
    bound = np.zeros((len(x), len(weight), h, w))
    for row in _starts(h):
        for column in _starts(w):
            window = padded[:, :, row : row + WINDOW, column : column + WINDOW]
            sums = np.einsum("ncij,ocij->noij", b @ window @ b.T, points)
            tile = bound[:, :, row : row + TILE, column : column + TILE]
            np.maximum(tile, a @ sums @ a.T, out=tile)
    return (_ROUNDINGS + x.shape[1]) * UNIT * (bound + bias[:, None, None])


def _starts(extent: int) -> list[int]:
    return [min(start, extent - TILE) for start in range(0, extent, TILE)]
