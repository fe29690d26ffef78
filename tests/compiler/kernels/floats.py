"""Random float tensors as they lie in memory, and how far sums in float32 may be off."""

from dataclasses import dataclass

import numpy as np

from edgekiln.compiler.ir.memory import Nhwc
from tests.compiler.kernels import harness
from tests.compiler.kernels.harness import Array

UNIT = 2.0**-24  # half the distance of two float32 next to 1


@dataclass(frozen=True)
class Floats:
    """float32 in ONNX's order (n, c, h, w), and where they lie."""

    tensor: Nhwc
    values: Array

    def memory(self) -> Array:
        block = np.zeros(self.tensor.elements, np.float32)
        harness.interior(self.tensor, block)[...] = self.values.transpose(0, 2, 3, 1)
        return block


def random_floats(rng: np.random.Generator, tensor: Nhwc) -> Floats:
    shape = (tensor.n, tensor.c, tensor.h, tensor.w)
    return Floats(tensor, rng.normal(size=shape).astype(np.float32))


def assert_within(memory: Array, tensor: Nhwc, expected: Array, bound: Array) -> None:
    """|result - expected| ≤ bound in the image, and zeros in its border.

    Args:
        expected, bound: float64, (n, c, h, w).
    """
    found = harness.interior(tensor, memory).transpose(0, 3, 1, 2)
    excess = np.abs(found - expected) - bound
    assert excess.max() <= 0, f"{excess.max()} beyond the bound at {excess.argmax()}"
    border = memory.copy()
    harness.interior(tensor, border)[...] = 0
    assert not border.any()
