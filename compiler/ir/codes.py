"""What an operation says about codes, and what it does before it stores its results."""

from dataclasses import dataclass, fields, replace
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.function import Function

T = TypeVar("T")

INFINITY = float("inf")


@dataclass(frozen=True, kw_only=True, eq=False)
class Codes:
    """Holds codes of an operation's result: they all move when the result's zero point does.

    An operation that keeps its codes in such objects needs no more to be moved rightly.
    """

    def shifted(self, by: int) -> Self:
        """The same, where each code is larger by `by`."""
        return shift_fields(self, by)


def shift_fields(holder: T, by: int) -> T:
    """A dataclass whose fields that are `Codes` are shifted."""
    for field in fields(holder):  # type: ignore[arg-type]  # its bound would be private to typeshed
        value = getattr(holder, field.name)
        if isinstance(value, Codes):
            holder = replace(holder, **{field.name: value.shifted(by)})  # type: ignore[type-var]
    return holder


@dataclass(frozen=True, kw_only=True)
class Quant(Codes):
    """Per-tensor quantization: real = (code - zero_point) * scale."""

    scale: float
    zero_point: int

    def value(self, code: float) -> np.float32:
        """What a code stands for."""
        return np.float32(code - self.zero_point) * np.float32(self.scale)

    def __str__(self) -> str:
        sign = "+" if self.zero_point < 0 else "-"
        return f"(q {sign} {abs(self.zero_point)})·{self.scale:.6g}"

    def shifted(self, by: int) -> Self:
        return replace(self, zero_point=self.zero_point + by)


@dataclass(frozen=True, kw_only=True)
class IntFinish(Codes):
    """Results are rounded to codes, half to even, and clipped to qmin..qmax: the limits of their
    type, or of an activation function that was joined.
    """

    qmin: int
    qmax: int

    def __str__(self) -> str:
        return f"{self.qmin}..{self.qmax}"

    def shifted(self, by: int) -> Self:
        return replace(self, qmin=self.qmin + by, qmax=self.qmax + by)

    def clipped(self, low: float, high: float) -> "IntFinish":
        """Clipped to low..high after that."""
        # Each limit moves to the nearest place inside low..high, so that the result is never empty.
        qmin, qmax = (max(int(low), min(int(high), limit)) for limit in self.limits)
        return IntFinish(qmin=qmin, qmax=qmax)

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the largest code that is stored."""
        return self.qmin, self.qmax


@dataclass(frozen=True, kw_only=True)
class FloatFinish:
    """Results stay floats: clipped, then given to `function`."""

    low: float = -INFINITY
    high: float = INFINITY
    function: Function = ()

    def __str__(self) -> str:
        clip = "" if self == FloatFinish(function=self.function) else f"{self.low:g}..{self.high:g}"
        return " → ".join([*([clip] if clip else []), *map(str, self.function)])

    def clipped(self, low: float, high: float) -> "FloatFinish":
        """Clipped to low..high after that; there is no function yet."""
        assert not self.function, self
        below, above = (max(low, min(high, limit)) for limit in self.limits)
        return FloatFinish(low=below, high=above)

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the largest number, before the function."""
        return self.low, self.high


@dataclass(frozen=True, kw_only=True)
class SumFinish:
    """Results are the int32 sums themselves, modulo 2³²."""

    def __str__(self) -> str:
        return "sums"

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the largest sum."""
        return -(1 << 31), (1 << 31) - 1


Finish = IntFinish | FloatFinish
SumsFinish = Finish | SumFinish  # of sums of products


def takes_function(finish: SumsFinish) -> bool:
    """Whether floats are stored, and no function is applied to them yet."""
    return isinstance(finish, FloatFinish) and not finish.function


def joined(finish: SumsFinish, function: Function) -> FloatFinish:
    """A finish that takes a function, with one."""
    assert isinstance(finish, FloatFinish), finish
    return replace(finish, function=function)


@dataclass(frozen=True, kw_only=True)
class Residual(Codes):
    """Another operand, added to a convolution's result: what became of that result before."""

    conv_quant: Quant | None  # of the result that is no longer stored; None: floats
    conv_finish: Finish

    def __str__(self) -> str:
        return (
            " ".join(str(each) for each in (self.conv_quant, self.conv_finish) if each) or "floats"
        )


@dataclass(frozen=True, kw_only=True)
class Fill(Codes):
    """The code (of floats, the value) for places that nothing is moved to."""

    value: float

    def __str__(self) -> str:
        return f"{self.value:g}"

    def shifted(self, by: int) -> Self:
        return replace(self, value=self.value + by)


@dataclass(frozen=True, kw_only=True, eq=False)
class Table(Codes):
    """A result's code for each of the 256 codes of an operand, from its type's lowest on."""

    entries: NDArray[np.generic]

    def __str__(self) -> str:
        return f"{self.entries.dtype}[{self.entries.size}]"

    def shifted(self, by: int) -> Self:
        return replace(self, entries=shift_array(self.entries, by))


def shift_array(codes: NDArray[np.generic], by: int) -> NDArray[np.generic]:
    """int8 codes as uint8 ones (`by` = 128), or the other way round (-128)."""
    other = {"int8": "uint8", "uint8": "int8"}[codes.dtype.name]
    # In 16 bits, for what lies between the two types fits neither.
    return (codes.astype("int16") + by).astype(other)
