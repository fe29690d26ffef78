"""Layers whose codes integers make alone: their stairs are float32's, over all sums there are."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.epilogue.finish import RequantizeFinish
from edgekiln.compiler.lowering.finish import in_integers
from edgekiln.compiler.quantization.whole_scales import moved_scales
from edgekiln.targets import isa
from tests.compiler.kernels.harness import thorough

Sums = NDArray[np.int64]
Stairs = Callable[[Sums], Sums]

LOW, HIGH = -(2**31), 2**31 - 1
CODES = np.arange(-127, 128, dtype=np.int64)
ZEROS = st.one_of(st.sampled_from([-128, 127, 0, -1]), st.integers(-128, 127))


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A layer of dot products, and how large its numbers are.

    Args:
        size: of the factors, powers of two; what a quantizer leaves is 2^-14 to 2^-6.
        bias: the largest, a power of two.
    """

    seed: int
    channels: int
    features: int
    zeros: tuple[int, int]
    size: tuple[int, int]
    bias: int
    moved: bool

    def mult(self, rng: np.random.Generator) -> NDArray[np.float32]:
        mult = (2.0 ** rng.uniform(*self.size, self.channels)).astype(np.float32)
        return moved_scales(mult, 1.0, 1.0, CODES - self.zeros[1]) if self.moved else mult

    def layer(self) -> ConvolutionKernel:
        rng = np.random.default_rng(self.seed)
        x, y = (
            Nhwc(n=1, h=1, w=1, c=count, dtype="int8", scale=1.0, zero_point=zero)
            for count, zero in zip((self.features, self.channels), self.zeros, strict=True)
        )
        shape = self.channels, self.features, 1, 1
        ends = -(2**self.bias), 2**self.bias - 1
        return ConvolutionKernel(
            x=x, y=y, weight=rng.integers(-128, 128, shape).astype(np.int8),
            bias=rng.integers(*ends, self.channels, endpoint=True).astype(np.int32),
            strides=(1, 1), dilations=(1, 1), pads=(0, 0),
            finish=RequantizeFinish(mult=self.mult(rng), clip=(-128, 127)),
        )  # fmt: skip


layers = st.builds(
    Drawn,
    seed=st.integers(0, 2**32 - 1),
    channels=st.integers(1, 4),
    features=st.sampled_from([1, 4, 64, 1000]),
    zeros=st.tuples(ZEROS, ZEROS),
    size=st.sampled_from([(-14, -6), (-40, -2), (-33, -26), (-8, -1.1)]),
    bias=st.sampled_from([14, 14, 24, 31]),
    moved=st.sampled_from([True, True, False]),
)


def span(layer: ConvolutionKernel, channel: int) -> tuple[int, int]:
    """The least and the largest sum; all of int32 where they leave it, for then they wrap."""
    weight = layer.weight[channel].astype(np.int64).reshape(-1)
    ends = (np.array([-128, 127]) - layer.x.zero_point)[:, None] * weight
    least, most = ends.min(axis=0).sum(), ends.max(axis=0).sum()
    low, high = int(layer.bias[channel] + least), int(layer.bias[channel] + most)
    return (low, high) if low >= LOW and high <= HIGH else (LOW, HIGH)


def first_sums(stairs: Stairs, low: int, high: int) -> Sums:
    """The least sum that reaches each code; one behind the largest where none does."""
    begin, end = np.full(CODES.shape, low), np.full(CODES.shape, high + 1)
    while (begin < end).any():
        middle = (begin + end) // 2
        reached = (stairs(np.minimum(middle, high)) >= CODES) | (middle > high)
        begin, end = np.where(reached, begin, middle + 1), np.where(reached, middle, end)
        begin = np.minimum(begin, end)
    return end


@given(layers)
@settings(thorough, max_examples=300)
def test_stairs_of_integers_are_those_of_floats(drawn: Drawn) -> None:
    layer = in_integers(drawn.layer(), isa.load("arm_dsp"))
    assert isinstance(layer.finish, RequantizeFinish)
    whole, zero = layer.finish.whole, layer.y.zero_point
    event(f"integers: {whole is not None}")
    assume(whole)
    assert whole
    start = (2 * zero + 1) << (whole.shift - 1)
    for channel, factor in enumerate(whole.factors.astype(np.int64)):
        mult = layer.finish.mult[channel]

        def by_floats(sums: Sums, mult: np.float32 = mult) -> Sums:
            steps = np.rint(sums.astype(np.float32) * mult).astype(np.int64)
            codes: Sums = np.clip(steps + zero, -128, 127)
            return codes

        def by_integers(sums: Sums, factor: np.int64 = factor) -> Sums:
            moved = start + ((sums * factor) >> 32)
            # A chip's words wrap around.
            words = moved.astype(np.int32).astype(np.int64)
            codes: Sums = np.clip(words >> whole.shift, -128, 127)
            return codes

        low, high = span(layer, channel)
        expected = first_sums(by_floats, low, high)
        np.testing.assert_array_equal(first_sums(by_integers, low, high), expected)
        # Both rise: no sum in between comes back.
        asked = np.random.default_rng(drawn.seed).integers(low, high, 500, endpoint=True)
        np.testing.assert_array_equal(by_integers(asked), by_floats(asked))
