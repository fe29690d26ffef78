"""What happens to int32 sums before the store: requantize, clip, residual, table; or dequantize."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.kernels.spec import F32, Nhwc
from edgekiln.compiler.kernels.tir import (
    Buffer,
    Index,
    KernelBuilder,
    bind,
    cast,
    clamp,
    load,
    register,
    reinterpret,
    store,
)  # fmt: skip
from edgekiln.targets.isa.base import Expr, MicroKernel, splat

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Residual:
    """Fuses `Add(a=result, b=tensor)` into the producer of `result`: the bits of the two kernels.

    The fields describe the result that is no longer stored: its quantization and its own clip.
    """

    tensor: Nhwc
    scale: float
    zero_point: int
    clip: tuple[int, int]


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
    """

    def __init__(
        self, mk: MicroKernel, y: Nhwc | F32, clip: tuple[int, int], residual: Residual | None
    ) -> None:
        self._mk = mk
        self._y = y
        self._residual = residual
        self._floats: list[np.float32] = []
        self._ints: list[int] = []
        if isinstance(y, Nhwc):
            if residual:
                self._add_clip(residual.clip, residual.zero_point)
            self._add_clip(clip, y.zero_point)
            self._ints.append(y.zero_point)
            if residual:
                other = residual.tensor
                self._floats += [ratio(residual.scale, y.scale), ratio(other.scale, y.scale)]
                self._ints.append(other.zero_point)

    def _add_clip(self, clip: tuple[int, int], zero_point: int) -> None:
        self._floats += [np.float32(bound - zero_point) for bound in clip]

    def declare_inputs(self, k: KernelBuilder) -> None:
        if self._residual:
            tensor = self._residual.tensor
            self._other = k.tensor(tensor.elements, tensor.dtype)

    def declare_constants(
        self,
        k: KernelBuilder,
        bias: "NDArray[np.generic]",
        mult: "NDArray[np.generic]",
        table: "NDArray[np.uint8] | None",
    ) -> None:
        """`bias` and `mult` are in the order of the vectors, padded to whole ones."""
        self._bias = k.constant(bias)
        self._mult = k.constant(mult)
        if self._floats:
            floats = np.array(self._floats, np.float32).view(np.int32)
            self._numbers = k.constant(np.concatenate([floats, np.array(self._ints, np.int32)]))
        self._table = None if table is None else k.constant(table)

    def declare_output(self, k: KernelBuilder) -> None:
        self._out = k.tensor(self._y.elements, _dtype(self._y))

    @property
    def out(self) -> Buffer:
        return self._out

    def zero(self) -> Expr:
        """The output's zero point, for its border."""
        return cast(self._int(0), _dtype(self._y))

    def bias(self, at: Index, lanes: int) -> Expr:
        return load(self._bias, at, lanes)

    def emit(self, acc: Expr, at: Index, y: Index, other: Index, lanes: int, valid: int) -> None:
        """Store the first `valid` lanes.

        Args:
            acc: int32 × lanes, bias included.
            at: of these channels in `mult`.
            y: flat index in the output.
            other: flat index in the residual tensor; unused without one.
        """
        value = cast(acc, "float32", lanes) * load(self._mult, at, lanes)
        if isinstance(self._y, F32):
            store_lanes(self._out, y, value, "float32", lanes, valid)
            return
        value = clamp(value, self._float(0), self._float(1), lanes)
        if self._residual:
            value = self._plus_residual(value, other, lanes)
        whole = self._mk.round_to_int(value, lanes) + splat(self._int(0), lanes)
        narrow = self._mk.narrow(whole, lanes)
        if self._table is None:
            store_lanes(self._out, y, narrow, self._y.dtype, lanes, valid)
        else:
            scratch = register(self._y.dtype, lanes)
            store(scratch, 0, narrow, lanes)
            for lane in range(valid):
                store(self._out, y + lane, lookup(self._table, load(scratch, lane), self._y.dtype))

    def _plus_residual(self, value: Expr, other: Index, lanes: int) -> Expr:
        mk = self._mk
        own = cast(mk.round_to_int(value, lanes), "float32", lanes)
        raw = mk.widen(load(self._other, other, lanes), lanes) - splat(self._int(1), lanes)
        scaled = cast(raw, "float32", lanes) * splat(self._float(5), lanes)
        total = mk.fma(own, splat(self._float(4), lanes), scaled, lanes)
        return clamp(total, self._float(2), self._float(3), lanes)

    def _float(self, index: int) -> Expr:
        return reinterpret(load(self._numbers, index), "float32")

    def _int(self, index: int) -> Expr:
        return load(self._numbers, len(self._floats) + index)


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


def lookup(table: Buffer, value: Expr, dtype: str) -> Expr:
    """table[value]: 256 entries by the value's bit pattern, bit patterns themselves."""
    at = bind(cast(reinterpret(value, "uint8") if dtype == "int8" else value, "int32"))
    entry = load(table, at)
    return reinterpret(entry, dtype) if dtype == "int8" else entry


def _dtype(y: Nhwc | F32) -> str:
    return y.dtype if isinstance(y, Nhwc) else "float32"
