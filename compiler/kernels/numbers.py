"""Numbers that differ between layers of one shape lie in memory, so that such layers share code."""

from collections.abc import Sequence

import numpy as np

from edgekiln.compiler.kernels.spec import Nhwc
from edgekiln.compiler.kernels.tir import KernelBuilder, cast, load, reinterpret
from edgekiln.targets.isa.base import Clip, Expr


class Numbers:
    """A kernel's constant with its output's zero point and clip, and numbers of its own."""

    def __init__(
        self,
        k: KernelBuilder,
        y: Nhwc,
        clip: tuple[int, int],
        floats: Sequence[np.float32],
        ints: Sequence[int] = (),
    ) -> None:
        steps = [np.float32(bound - y.zero_point) for bound in clip]
        codes = np.array([y.zero_point, *clip, *ints], np.int32)
        bits = np.array([*steps, *floats], np.float32).view(np.int32)
        self._dtype = y.dtype
        self._buffer = k.constant(np.concatenate([bits, codes]))
        self._ints = len(bits) + 3

    def float(self, index: int) -> Expr:
        """The index-th of `floats`."""
        return reinterpret(load(self._buffer, 2 + index), "float32")

    def int(self, index: int) -> Expr:
        """The index-th of `ints`."""
        return load(self._buffer, self._ints + index)

    @property
    def zero(self) -> Expr:
        """The output's zero point as a code, for its border."""
        return cast(self.int(-3), self._dtype)

    @property
    def clip(self) -> Clip:
        return Clip(
            zero=self.int(-3), low=self.int(-2), high=self.int(-1),
            low_steps=self.float(-2), high_steps=self.float(-1), bounded=False,
        )  # fmt: skip
