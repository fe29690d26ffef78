"""Random quantized convolutions, and ONNX Runtime's QLinearConv as their oracle."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.epilogue.finish import RequantizeFinish
from edgekiln.compiler.kernels.epilogue.sums import ResidualOperand
from edgekiln.compiler.onnx_model.requantize import multiplier
from tests.compiler.kernels import harness
from tests.compiler.kernels.harness import Array, Codes

CHANNELS = (1, 2, 3, 4, 5, 8, 10, 16, 17, 20, 24, 32, 33, 48, 127)


@dataclass(frozen=True)
class Case:
    """One convolution without its data, which follow from `seed`."""

    seed: int
    n: int
    size: tuple[int, int]
    groups: int
    channels: tuple[int, int]  # per group: in, out
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]  # top, left, bottom, right
    zeros: tuple[str, str]  # "low", "high" or "some": x's and y's zero points
    data: str  # "random" or "saturating"
    halos: tuple[int, int]  # seeds of the extra borders of x and y
    clipped: bool
    pieces: int


@st.composite
def cases(draw: Any, *, depthwise: bool = False) -> Case:
    groups = draw(
        st.sampled_from([3, 8, 17, 24, 32, 40, 58, 64, 96, 116] if depthwise else [1, 1, 1, 2, 3])
    )
    few = CHANNELS[:8] if groups > 1 else CHANNELS
    outputs = few if groups > 1 else (*few, 1000)
    channels = (1, 1) if depthwise else (draw(st.sampled_from(few)), draw(st.sampled_from(outputs)))
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (3, 3), (5, 5), (1, 3), (7, 2), (2, 2)]))
    dilations = draw(st.sampled_from([(1, 1), (1, 1), (1, 1), (2, 2), (1, 3)]))
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    pads = tuple(draw(st.integers(0, min(2, reach[axis % 2]))) for axis in range(4))
    # At least one window fits; one-pixel images come up where the padding allows them.
    least = [max(1, reach[a] + 1 - pads[a] - pads[a + 2]) for a in (0, 1)]
    return Case(
        seed=draw(st.integers(0, 2**16)),
        n=draw(st.sampled_from([1, 1, 2])),
        size=(least[0] + draw(st.integers(0, 8)), least[1] + draw(st.integers(0, 19))),
        groups=groups,
        channels=channels,
        kernel=kernel,
        strides=draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 2)])),
        dilations=dilations,
        pads=pads,  # type: ignore[arg-type]
        zeros=(draw(_ZEROS), draw(_ZEROS)),
        data=draw(st.sampled_from(["random", "random", "saturating"])),
        halos=(draw(_HALOS), draw(_HALOS)),
        clipped=draw(st.booleans()),
        pieces=draw(st.sampled_from([1, 2, 5])),
    )


def with_other_numbers(case: Case) -> Iterator[Case]:
    """The same shape with zero points at both ends, all-saturating data, and clipped or not: what
    shares the shape's code, and then what shares the code of another form of the epilogue.
    """
    corners = product((False, True), ("low", "high"), ("low", "high"), ("random", "saturating"))
    for seed, (clipped, y_zero, x_zero, data) in enumerate(corners, case.seed):
        yield replace(case, seed=seed, zeros=(x_zero, y_zero), data=data, clipped=clipped)


_ZEROS = st.sampled_from(["low", "high", "some"])
_HALOS = st.sampled_from([0, 0, 1, 2, 3])


class Problem:
    """The case's tensors on one activation type, and what ONNX Runtime makes of them."""

    def __init__(self, case: Case, dtype: str) -> None:
        self.case = case
        rng = self.rng = np.random.default_rng(case.seed)
        low, high = harness.bounds(dtype)
        x_zero, y_zero = (
            {"low": low, "high": high, "some": int(rng.integers(low, high + 1))}[zero]
            for zero in case.zeros
        )
        ic, oc = (count * case.groups for count in case.channels)
        shape = (oc, case.channels[0], *case.kernel)
        if case.data == "saturating":
            self.weight = rng.choice(np.array([-128, 127], np.int8), (oc, 1, 1, 1)).repeat(
                shape[1], 1
            )
            self.weight = np.broadcast_to(self.weight, shape).copy()
            codes = np.full((case.n, ic, *case.size), rng.choice([low, high]), dtype)
        else:
            self.weight = rng.integers(-128, 128, shape).astype(np.int8)
            codes = rng.integers(low, high + 1, (case.n, ic, *case.size)).astype(dtype)
        self.bias = rng.integers(-20000, 20000, oc).astype(np.int32)
        self.x_scale = np.float32(rng.uniform(0.001, 0.1))
        self.w_scale = rng.uniform(0.001, 0.02, oc).astype(np.float32)
        taps = int(np.prod(shape[1:]))
        spread = float(self.x_scale * self.w_scale.mean()) * 5000 * np.sqrt(taps)
        self.y_scale = np.float32(spread / rng.uniform(20, 200))
        self.x = self.image(codes, self.x_scale, x_zero, case.halos[0], case.pads)
        self.y = Codes(self._like(self.oracle_shape, dtype, y_zero), np.zeros(0))
        self.clip = (low, high)
        if case.clipped:
            a, b = sorted(int(v) for v in rng.integers(low, high + 1, 2))
            self.clip = (low if case.zeros[1] == "low" else a, b)  # as a ReLU's

    def image(
        self, codes: Array, scale: np.float32, zero: int, border: int,
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> Codes:  # fmt: skip
        n, c, h, w = codes.shape
        tensor = Nhwc(
            n=n, h=h, w=w, c=c, dtype=str(codes.dtype), scale=float(scale), zero_point=zero,
            halo=harness.halo(border, *pads),
        )  # fmt: skip
        return Codes(tensor, codes)

    @cached_property
    def oracle_shape(self) -> tuple[int, int, int, int]:
        case = self.case
        h, w = (
            (case.size[a] + case.pads[a] + case.pads[a + 2]
             - (case.kernel[a] - 1) * case.dilations[a] - 1) // case.strides[a] + 1
            for a in (0, 1)
        )  # fmt: skip
        return case.n, case.channels[1] * case.groups, h, w

    def _like(self, shape: tuple[int, int, int, int], dtype: str, zero: int) -> Nhwc:
        n, c, h, w = shape
        return Nhwc(
            n=n, h=h, w=w, c=c, dtype=dtype, scale=float(self.y_scale), zero_point=zero,
            halo=harness.halo(self.case.halos[1], 0, 0, 0, 0),
        )  # fmt: skip

    @property
    def mult(self) -> Array:
        return multiplier(float(self.x_scale), self.w_scale, float(self.y_scale))

    @property
    def finish(self) -> RequantizeFinish:
        return RequantizeFinish(mult=self.mult, clip=self.clip)

    def expected(self) -> Codes:
        """QLinearConv's result, clipped: its codes are monotonic, so the order does not matter."""
        case, x, y = self.case, self.x, self.y.tensor
        codes = harness.ort(
            "QLinearConv",
            {
                "x": x.values,
                "x_scale": self.x_scale,
                "x_zero": np.array(x.tensor.zero_point, x.values.dtype),
                "w": self.weight,
                "w_scale": self.w_scale,
                "w_zero": np.zeros(len(self.weight), np.int8),
                "y_scale": self.y_scale,
                "y_zero": np.array(y.zero_point, y.dtype),
                "bias": self.bias,
            },
            group=case.groups,
            strides=case.strides,
            dilations=case.dilations,
            pads=case.pads,
        )
        return Codes(y, np.clip(codes, *self.clip))

    def sums(self) -> Array:
        """Exact int32 sums, (n, oc, oh, ow), from ONNX Runtime's ConvInteger in uint8."""
        case, x = self.case, self.x
        shift = 128 if x.values.dtype == np.int8 else 0
        raw = (x.values.astype(np.int16) + shift).astype(np.uint8)
        sums = harness.ort(
            "ConvInteger",
            {"x": raw, "w": self.weight, "zero": np.array(x.tensor.zero_point + shift, np.uint8)},
            group=case.groups,
            strides=case.strides,
            dilations=case.dilations,
            pads=case.pads,
        )
        return sums + self.bias[:, None, None]

    def attributes(self) -> dict[str, Any]:
        """What every convolution kernel is told, apart from its result."""
        case = self.case
        return {
            "x": self.x.tensor,
            "weight": self.weight,
            "bias": self.bias,
            "strides": case.strides,
            "dilations": case.dilations,
            "pads": case.pads[:2],
        }

    def residual(self) -> tuple[ResidualOperand, Codes, Nhwc]:
        """A tensor to add to the result, and the sum's own tensor."""
        y = self.y.tensor
        low, high = harness.bounds(y.dtype)
        codes = self.rng.integers(low, high + 1, self.oracle_shape).astype(y.dtype)
        zero = int(self.rng.integers(low, high + 1))
        other = self.image(codes, np.float32(y.scale * 0.7), zero, self.case.halos[0])
        total = Nhwc(
            n=y.n, h=y.h, w=y.w, c=y.c, dtype=y.dtype, halo=y.halo,
            scale=float(np.float32(y.scale * 1.3)),
            zero_point=int(self.rng.integers(low, high + 1)),
        )  # fmt: skip
        fused = ResidualOperand(
            tensor=other.tensor, scale=y.scale, zero_point=y.zero_point, clip=self.clip
        )
        return fused, other, total
