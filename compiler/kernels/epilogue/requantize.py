"""What happens to int32 sums before the store: requantize, clip, residual; or dequantize."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.conv2d import winograd
from edgekiln.compiler.kernels.epilogue.sums import START, is_rectified
from edgekiln.compiler.kernels.numbers import all_codes
from edgekiln.compiler.kernels.tir import (
    Buffer,
    Index,
    KernelBuilder,
    cast,
    const,
    load,
    register,
    reinterpret,
    store,
)  # fmt: skip
from edgekiln.targets.isa.base import Expr, MicroKernel, inverse, pick, splat
from edgekiln.targets.isa.codes import Clip

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.compiler.kernels.conv2d.kernel import Conv2d
    from edgekiln.compiler.kernels.depthwise.kernel import Depthwise2d

C = TypeVar("C", "Conv2d", "Depthwise2d")


@dataclass(frozen=True, kw_only=True)
class Residual:
    """Fuses `Add(a=result, b=tensor)` into the producer of `result`: the bits of the two kernels.

    The fields describe the result that is no longer stored: its quantization and its own clip.
    """

    tensor: Nhwc
    scale: float = 1.0
    zero_point: int = 0
    clip: tuple[float, float]


def multiplier(
    x_scale: float, weight_scale: "float | NDArray[np.float32]", y_scale: float | None
) -> "NDArray[np.float32]":
    """Per-channel factor from int32 sums to y: float32(float32(s_x·s_w) / s_y), as in MLAS.

    Args:
        y_scale: None when the result is dequantized: float32(s_x·s_w).
    """
    product = np.float32(x_scale) * np.asarray(weight_scale, np.float32)
    return np.atleast_1d(product if y_scale is None else product / np.float32(y_scale))


def ratio(numerator: float, denominator: float) -> np.float32:
    """The quotient of two scales in float32."""
    return np.float32(numerator / denominator)


class Epilogue:
    """Turns a vector of sums into stored elements of `y`.

    Numbers that differ between layers of one shape (clips, zero points, ratios of scales) live in
    memory, not in the code, so that such layers share one function.

    Sums start from what `bias` loads; `emit` takes sums that did.

    Args:
        rectified: whether `sums.is_rectified`.
    """

    def __init__(
        self, mk: MicroKernel, y: Nhwc, clip: tuple[int, int], residual: Residual | None,
        *, rectified: bool = False,
    ) -> None:  # fmt: skip
        self.mk = mk
        self._y = y
        self._residual = residual
        self._rectified = rectified and mk.sums_as_floats
        self._saturating = clip == all_codes(y.dtype)
        self._floats: list[np.float32] = []
        self._ints: list[int] = []
        if y.dtype != "float32":
            self._floats += _steps(clip, y.zero_point)
            self._ints += [y.zero_point, *clip]
            if residual:
                other = residual.tensor
                self._floats += _steps(residual.clip, residual.zero_point)
                self._floats += [ratio(residual.scale, y.scale), ratio(other.scale, y.scale)]
                self._ints.append(other.zero_point)

    def declare_inputs(self, k: KernelBuilder) -> None:
        if self._residual:
            tensor = self._residual.tensor
            self._other = k.tensor(tensor.elements, tensor.dtype)

    def declare_constants(
        self,
        k: KernelBuilder,
        bias: "NDArray[np.generic]",
        mult: "NDArray[np.generic]",
    ) -> None:
        """`bias` and `mult` are in the order of the vectors, padded to whole ones.

        Args:
            bias: taken modulo 2³².
        """
        self._lanes = len(mult)
        self._bounded = self._rectified or _is_bounded(self._y, mult, self._residual)
        if self._rectified:
            bias = bias + START
            mult = np.concatenate([mult, mult.astype(np.float32) * np.float32(-(2.0**23))])
        self._bias = k.constant(bias.astype(np.int32))
        self._mult = k.constant(mult)
        if self._floats:
            floats = np.array(self._floats, np.float32).view(np.int32)
            self._numbers = k.constant(np.concatenate([floats, np.array(self._ints, np.int32)]))

    def declare_output(self, k: KernelBuilder) -> None:
        self._out = k.tensor(self._y.elements, self._y.dtype)

    @property
    def out(self) -> Buffer:
        return self._out

    def zero(self) -> Expr:
        """The output's zero point, for its border."""
        return cast(self._int(0) if self._ints else const(0), self._y.dtype)

    @property
    def biases(self) -> Buffer:
        """int32, one a lane: what `bias` loads from."""
        return self._bias

    def bias(self, at: Index, lanes: int) -> Expr:
        return load(self._bias, at, lanes)

    def emit(
        self, acc: Expr, at: Index, y: Index, other: Index, lanes: int, valid: int,
        order: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        """Store the first `valid` lanes.

        Args:
            acc: int32 × lanes, bias included.
            at: of these channels in `mult`.
            y: flat index in the output.
            other: flat index in the residual tensor; unused without one.
            order: which channel each lane is; None: they are in order.
        """
        value = self._scaled(acc, at, lanes)
        if self._y.dtype == "float32":
            value = value if order is None else pick([value], inverse(order))
            store_lanes(self._out, y, value, "float32", lanes, valid)
            return
        if self._residual:
            value = self._plus_residual(value, other, lanes, order)
        codes = self.mk.quantize(value, self._clip(), lanes, order)
        store_lanes(self._out, y, codes, self._y.dtype, lanes, valid)

    def _scaled(self, acc: Expr, at: Index, lanes: int) -> Expr:
        mult = load(self._mult, at, lanes)
        if not self._rectified:
            return cast(acc, "float32", lanes) * mult
        start = load(self._mult, at + self._lanes, lanes)
        return self.mk.fma(reinterpret(acc, "float32", lanes), mult, start, lanes)

    def _plus_residual(
        self, value: Expr, other: Index, lanes: int, order: Sequence[int] | None
    ) -> Expr:
        mk = self.mk
        value = mk.clamp(value, self._float(2), self._float(3), lanes)
        own = cast(mk.round_to_int(value, lanes), "float32", lanes)
        codes = load(self._other, other, lanes)
        codes = codes if order is None else pick([codes], order)
        raw = mk.widen(codes, lanes) - splat(self._int(3), lanes)
        scaled = cast(raw, "float32", lanes) * splat(self._float(5), lanes)
        return mk.fma(own, splat(self._float(4), lanes), scaled, lanes)

    def _clip(self) -> Clip:
        return Clip(
            zero=self._int(0), low=self._int(1), high=self._int(2),
            low_steps=self._float(0), high_steps=self._float(1), bounded=self._bounded,
            rectified=self._rectified, saturating=self._saturating,
        )  # fmt: skip

    def _float(self, index: int) -> Expr:
        return reinterpret(load(self._numbers, index), "float32")

    def _int(self, index: int) -> Expr:
        return load(self._numbers, len(self._floats) + index)


def _steps(clip: tuple[float, float], zero_point: int) -> list[np.float32]:
    return [np.float32(bound - zero_point) for bound in clip]


def erased_convolution(conv: C) -> C:
    """The convolution that stands for all with the same code."""
    return replace(
        conv,
        x=conv.x.unscaled,
        weight=winograd.erased(conv.weight),
        bias=np.zeros_like(conv.bias),
        **erased(conv.y, conv.mult, conv.clip, conv.residual, rectified=is_rectified(conv)),
    )


def erased(
    y: Nhwc, mult: "NDArray[np.float32]", clip: tuple[int, int], residual: Residual | None = None,
    *, rectified: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Fields `y`, `mult`, `clip` and `residual` that stand for all that give an epilogue the same
    code: values that decide the same.
    """
    own = 0.0 if rectified or _is_bounded(y, mult, residual) else 2.0**31
    low, high = all_codes(y.dtype)
    saturating = clip[1] == high if rectified else clip == (low, high)
    if residual:
        tensor = replace(residual.tensor.unscaled, scale=0.0)
        residual = Residual(tensor=tensor, scale=own, zero_point=0, clip=(0, 0))
    return {
        "y": replace(y, scale=1.0, zero_point=low if rectified else high),
        "mult": np.full_like(mult, own),
        "clip": (low, high if saturating else low),
        "residual": residual,
    }


def _is_bounded(y: Nhwc, mult: "NDArray[np.generic]", residual: Residual | None) -> bool:
    """Whether no value before clipping reaches 2³¹: |sum| ≤ 2³¹, |code - zero point| ≤ 255."""
    if residual:
        scales = residual.scale, residual.tensor.scale
        return 255.0 * sum(float(ratio(scale, y.scale)) for scale in scales) < 2.0**31
    return float(mult.astype(np.float64).max()) < 1.0


def store_lanes(out: Buffer, index: Index, value: Expr, dtype: str, lanes: int, valid: int) -> None:
    """Store the first `valid` lanes of a vector and touch nothing behind them."""
    if valid == lanes:
        store(out, index, value, lanes)
        return
    scratch = register(dtype, lanes)
    store(scratch, 0, value, lanes)
    done, width = 0, lanes
    while done < valid:
        if width <= valid - done:
            store(out, index + done, load(scratch, done, width), width)
            done += width
        width //= 2
