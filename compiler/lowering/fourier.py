"""Products whose weights are waves in a window: Fourier transforms, which need fewer products."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.linear import Conv2d, Dense
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.kernels.epilogue.finish import ActivationFinish
from edgekiln.compiler.kernels.fourier import LEAST_SIZE, FourierKernel
from edgekiln.compiler.kernels.fourier_steps import factors
from edgekiln.compiler.lowering.finish import finish_of
from edgekiln.compiler.lowering.state import Lowering

# How far weights are from waves: rounded to float32, by whoever made them.
_NEAR = 2.0**-21

_Made = Callable[..., FourierKernel]


def of_frames(low: Lowering, node: Node, op: Conv2d) -> FourierKernel | None:
    """The transform that a convolution over samples is, if it is one."""
    x = low.tensor(node.inputs[0])
    taps = op.weight.shape[3]
    window = op.window
    plain = window.dilations == (1, 1) and not any(window.pads) and op.groups == 1
    if x.shape[1] != 1 or x.shape[2] != 1 or op.weight.shape[2] != 1 or not plain or x.halo:
        return None
    waves = np.asarray(op.weight).reshape(-1, taps)
    frames = low.tensor(node.name).shape[3]
    lying = {
        "images": x.shape[0],
        "samples": x.shape[3],
        "frames": frames,
        "hop": window.strides[1],
    }
    return _kernel(low, node, op, waves, lying)


def of_rows(low: Lowering, node: Node, op: Dense) -> FourierKernel | None:
    """The transform of each row that a dense layer is, if it is one."""
    count = op.weight.shape[1]
    rows = low.tensor(node.inputs[0]).elements // count
    lying = {"images": rows, "samples": count, "frames": 1, "hop": count}
    return _kernel(low, node, op, np.asarray(op.weight), lying)


def _kernel(
    low: Lowering, node: Node, op: Conv2d | Dense, waves: NDArray[np.generic],
    lying: dict[str, int],
) -> FourierKernel | None:  # fmt: skip
    y, mk = low.tensor(node.name), low.kernels_of(node)
    if op.mult is not None or op.residual or np.any(op.bias) or not _is_dense(y) or mk.group:
        return None
    size = len(waves) - 2
    if size < LEAST_SIZE or not factors(size) or waves.shape[1] > size:
        return None
    found = _waves(waves.astype(np.float64), size)
    finish = finish_of(op.finish, None)
    if found is None or not isinstance(finish, ActivationFinish):
        return None
    paired, rising = found
    window = np.asarray(waves[0], np.float32)
    return FourierKernel(
        size=size, window=window, paired=paired, rising=rising, y=y.nhwc(), finish=finish, **lying
    )


def _is_dense(y: Tensor) -> bool:
    return not y.halo and y.part is None


def _waves(weights: NDArray[np.float64], size: int) -> tuple[bool, bool] | None:
    """Whether cosines and sines come in turn, and whether sines rise; None where they are others.

    Args:
        weights: (2 · (size / 2 + 1), values of a frame).
    """
    bins, count = size // 2 + 1, weights.shape[1]
    turns = np.outer(np.arange(bins), np.arange(count)) % size / size
    # The first cosine is 1 everywhere: its weights are the window.
    cosines, sines = weights[0] * np.cos(2 * np.pi * turns), weights[0] * np.sin(2 * np.pi * turns)
    bound = _NEAR * np.abs(weights[0]).max()
    parts = {True: (weights[::2], weights[1::2]), False: (weights[:bins], weights[bins:])}
    for paired, (real, imaginary) in parts.items():
        if np.abs(real - cosines).max() <= bound:
            for rising, sign in ((False, -1), (True, 1)):
                if np.abs(imaginary - sign * sines).max() <= bound:
                    return paired, rising
    return None
