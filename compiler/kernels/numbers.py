"""The numbers in which layers of one shape differ lie in memory, so that such layers share code."""

from collections.abc import Sequence

import numpy as np

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.ir.tensor import QMAX, QMIN
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.codes import Clip
from edgekiln.targets.isa.expressions import (
    Expr,
    cast,
    inverse,
    load,
    maximum,
    minimum,
    reinterpret,
    shuffle,
    splat,
)


class NumbersConstant:
    """A kernel's constant with its output's zero point and clip, and numbers of its own.

    It is one int32 array: low and high in steps and `floats`, as their bits; then the zero point,
    the lowest and the highest code, and `ints`.

    Args:
        clip: lowest and highest code of y, or value if y has floats; None: all that its type has.
        bounded: no value before clipping reaches 2³¹.
    """

    def __init__(
        self,
        k: KernelBuilder,
        y: Nhwc,
        clip: tuple[float, float] | None = None,
        floats: Sequence[np.float32] = (),
        ints: Sequence[int] = (),
        *,
        bounded: bool = False,
    ) -> None:
        bounds = clip or all_codes(y.dtype)
        self._saturating = bounds == all_codes(y.dtype)
        steps = [np.float32(bound - y.zero_point) for bound in bounds]
        whole = (0, 0) if y.dtype == "float32" else bounds
        codes = np.array([y.zero_point, *whole, *ints], np.int32)
        bits = np.array([*steps, *floats], np.float32).view(np.int32)
        self._dtype, self._bounded = y.dtype, bounded
        self._buffer = k.constant(np.concatenate([bits, codes]))
        self._ints = len(bits) + 3  # where `ints` begin: behind the zero point and the clip

    def float(self, index: int) -> Expr:
        """One of `floats`."""
        return reinterpret(load(self._buffer, 2 + index), "float32")

    @property
    def zero(self) -> Expr:
        """The output's zero point as a code, for its border."""
        return cast(self.int(-3), self._dtype)

    @property
    def clip(self) -> Clip:
        """What the output's codes may be."""
        return Clip(
            zero=self.int(-3), low=self.int(-2), high=self.int(-1),
            low_steps=self.float(-2), high_steps=self.float(-1), bounded=self._bounded,
            saturating=self._saturating,
        )  # fmt: skip

    def codes(
        self, mk: MicroKernel, value: Expr, lanes: int, order: Sequence[int] | None = None
    ) -> Expr:
        """Make codes of y from float32 steps: round half to even, add the zero point, clip. NaN
        becomes the lowest code. If y has floats they are clipped alone, and NaN stays.

        Args:
            order: where in the result each lane goes; None: they stay.
        """
        clip = self.clip
        if self._dtype != "float32":
            return codes_of(mk, value, clip, self._dtype, lanes, order)
        value = value if order is None else shuffle([value], inverse(order))
        low, high = (splat(bound, lanes) for bound in (clip.low_steps, clip.high_steps))
        return minimum(high, maximum(low, value))  # in this order NaN stays NaN

    def int(self, index: int) -> Expr:
        """One of `ints`."""
        return load(self._buffer, self._ints + index)


def codes_of(
    mk: MicroKernel, value: Expr, clip: Clip, dtype: str, lanes: int,
    order: Sequence[int] | None = None,
) -> Expr:  # fmt: skip
    """Codes of a type from float32 steps, see `MicroKernel.quantize`."""
    if dtype == mk.activation:
        return mk.quantize(value, clip, lanes, order)
    # Another type than the micro-kernel's own: step by step.
    value = value if order is None else shuffle([value], inverse(order))
    value = mk.clamp(value, clip.low_steps, clip.high_steps, lanes)
    return cast(mk.round_to_int(value, lanes) + splat(clip.zero, lanes), dtype, lanes)


def erased_clip(clip: tuple[int, int], dtype: str) -> tuple[int, int]:
    """A clip that stands for all with the same code: where the type clips there is none."""
    return clip if clip == all_codes(dtype) else (0, 0)


def all_codes(dtype: str) -> tuple[int, int]:
    """The lowest and the highest code of a type; of floats those of int8, which nothing reads."""
    kind = dtype if dtype in QMIN else "int8"
    return QMIN[kind], QMAX[kind]


def most_steps(dtype: str) -> float:
    """How many steps a code can be from its zero point."""
    low, high = all_codes(dtype)
    return float(high - low)
