"""TensorIR's expressions: the few functions of TVM that kernels are made of, with types.

TVM ships no types, so its modules are `Any` to a type checker; what it returns gets its type here.
It is imported inside each function: to name an instruction set must not take the seconds that TVM
needs.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, overload


class Expr(Protocol):  # noqa: PLW1641, for nobody hashes what a comparison returns
    """A value that the generated code computes: a scalar, or a vector of lanes.

    TVM's own classes satisfy it. Python numbers on either side become constants of its type.
    """

    @property
    def ty(self) -> object:
        """Its type, which reads as "int32" or "uint8x16"."""

    def __add__(self, other: "Expr | int", /) -> "Expr": ...
    def __radd__(self, other: int, /) -> "Expr": ...
    def __sub__(self, other: "Expr | int", /) -> "Expr": ...
    def __rsub__(self, other: int, /) -> "Expr": ...
    def __mul__(self, other: "Expr | int", /) -> "Expr": ...
    def __rmul__(self, other: int, /) -> "Expr": ...
    def __truediv__(self, other: "Expr", /) -> "Expr": ...
    def __neg__(self) -> "Expr": ...
    def __and__(self, other: "Expr", /) -> "Expr": ...
    def __or__(self, other: "Expr | bool", /) -> "Expr": ...
    def __ror__(self, other: bool, /) -> "Expr": ...
    def __xor__(self, other: "Expr", /) -> "Expr": ...
    def __lshift__(self, other: "Expr", /) -> "Expr": ...
    def __rshift__(self, other: "Expr", /) -> "Expr": ...
    def __lt__(self, other: "Expr | int", /) -> "Expr": ...
    def __gt__(self, other: "Expr | int", /) -> "Expr": ...
    def __ge__(self, other: "Expr | int", /) -> "Expr": ...
    # A comparison is generated code, too, where `object` promises Python's answer.
    def __eq__(self, other: object, /) -> "Expr": ...  # type: ignore[override]


# Where an element lies: a number that is known while code is generated, or an int32 expression.
Index = int | Expr


class Buffer(Protocol):
    """One-dimensional memory that the generated code reads and writes: `tvm.tirx.Buffer`."""

    def __getitem__(self, index: Index, /) -> Expr: ...


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """A function in LLVM's own text, around instructions of one chip. It returns an i32."""

    name: str
    text: str


def vector(dtype: str, lanes: int) -> str:
    """TVM's name of a vector type. One lane is a scalar."""
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


def const(value: int, dtype: str = "int32") -> Expr:
    """An integer of the type."""
    from tvm.script.ir_builder import tirx as T

    number: Expr = getattr(T, dtype)(value)
    return number


def float_const(value: float) -> Expr:
    """A float32, to which the value is rounded."""
    from tvm.script.ir_builder import tirx as T

    number: Expr = T.float32(float(value))
    return number


def expression(index: Index) -> Expr:
    """The same number as an expression."""
    return const(index) if isinstance(index, int) else index


def splat(value: Expr, lanes: int) -> Expr:
    """`value` in every lane."""
    from tvm.script.ir_builder import tirx as T

    every: Expr = value if lanes == 1 else T.broadcast(value, lanes)
    return every


def cast(value: Expr, dtype: str, lanes: int = 1) -> Expr:
    """The values as another type."""
    from tvm.script.ir_builder import tirx as T

    converted: Expr = T.Cast(vector(dtype, lanes), value)
    return converted


def reinterpret(value: Expr, dtype: str, lanes: int = 1) -> Expr:
    """The bits as another type of as many bytes."""
    from tvm.script.ir_builder import tirx as T

    seen: Expr = T.reinterpret(vector(dtype, lanes), value)
    return seen


@overload
def minimum(a: int, b: int) -> int: ...
@overload
def minimum(a: Index, b: Expr) -> Expr: ...
@overload
def minimum(a: Expr, b: int) -> Expr: ...
def minimum(a: Index, b: Index) -> Index:
    """The smaller one, lane by lane; `b` where `a` is NaN. Of numbers a number."""
    from tvm.script.ir_builder import tirx as T

    smaller: Index = min(a, b) if isinstance(a, int) and isinstance(b, int) else T.min(a, b)
    return smaller


@overload
def maximum(a: int, b: int) -> int: ...
@overload
def maximum(a: Index, b: Expr) -> Expr: ...
@overload
def maximum(a: Expr, b: int) -> Expr: ...
def maximum(a: Index, b: Index) -> Index:
    """The larger one, lane by lane; `b` where `a` is NaN. Of numbers a number."""
    from tvm.script.ir_builder import tirx as T

    larger: Index = max(a, b) if isinstance(a, int) and isinstance(b, int) else T.max(a, b)
    return larger


def select(condition: Expr, yes: Expr, no: Expr) -> Expr:
    """`yes` where the condition holds and `no` elsewhere, lane by lane. Both are computed."""
    from tvm.script.ir_builder import tirx as T

    chosen: Expr = T.Select(condition, yes, no)
    return chosen


def square_root(value: Expr) -> Expr:
    """The square root, as IEEE 754 rounds it."""
    from tvm.script.ir_builder import tirx as T

    root: Expr = T.sqrt(value)
    return root


def lane_numbers(lanes: int) -> Expr:
    """0, 1, 2, … as int32."""
    from tvm.script.ir_builder import tirx as T

    numbers: Expr = T.ramp(0, 1, lanes)
    return numbers


def quotient_and_remainder(value: Expr, divisor: int) -> tuple[Expr, Expr]:
    """Divide a non-negative value."""
    from tvm.script.ir_builder import tirx as T

    quotient: Expr = T.truncdiv(value, const(divisor))
    remainder: Expr = T.truncmod(value, const(divisor))
    return quotient, remainder


def remainder(value: Expr, divisor: Expr) -> Expr:
    """What is left of a division; both are unsigned, or not negative."""
    from tvm.script.ir_builder import tirx as T

    left: Expr = T.truncmod(value, divisor)
    return left


def load(buffer: Buffer, index: Index, lanes: int = 1) -> Expr:
    """`lanes` elements side by side from `index` on."""
    from tvm.script.ir_builder import tirx as T

    return buffer[index] if lanes == 1 else buffer[T.ramp(expression(index), 1, lanes)]


def address(buffer: Buffer, index: Index) -> Expr:
    """Where an element lies."""
    from tvm.script.ir_builder import tirx as T

    pointer: Expr = T.address_of(buffer[index])
    return pointer


def llvm(name: str, dtype: str, *args: Expr) -> Expr:
    """Call an LLVM intrinsic that reads and writes no memory."""
    from tvm.script.ir_builder import tirx as T

    result: Expr = T.call_llvm_pure_intrin(dtype, T.llvm_lookup_intrinsic_id(name), *args)
    return result


def rounded(product: Expr, lanes: int) -> Expr:
    """A float32 product that is rounded before anything is added to it: left to itself LLVM makes
    one multiply-add of both, with other bits.
    """
    return llvm("llvm.arithmetic.fence", vector("float32", lanes), product)


def shuffle(vectors: Sequence[Expr], indices: Sequence[int]) -> Expr:
    """The lanes of `vectors`, laid end to end, at constant `indices`; not more than there are."""
    from tvm import tirx

    shuffled: Expr = tirx.Shuffle(list(vectors), list(indices))
    return shuffled


def by_parts(
    step: Callable[[Expr, int], Expr], x: Expr, lanes: int, fewest: int, most: int
) -> Expr:
    """`step(part, its lanes)` on `most` lanes of x at a time, the results laid end to end; where
    there are fewer than `fewest`, x is repeated.
    """
    if lanes < fewest:
        whole = splat(x, fewest) if lanes == 1 else shuffle([x] * (fewest // lanes), range(fewest))
        return shuffle([step(whole, fewest)], range(lanes))
    if lanes <= most:
        return step(x, lanes)
    parts = [step(shuffle([x], range(at, at + most)), most) for at in range(0, lanes, most)]
    return shuffle(parts, range(lanes))


def inverse(order: Sequence[int]) -> list[int]:
    """The permutation that undoes `order`."""
    return sorted(range(len(order)), key=order.__getitem__)


def words_of(rows: Sequence[Expr], lanes: int) -> Expr:
    """Join up to four rows of bytes × lanes, one byte of each, the first one lowest, in a word of
    every lane.
    """

    def word(row: Expr, place: int) -> Expr:
        wide = cast(reinterpret(row, "uint8", lanes), "int32", lanes)
        return wide << splat(const(8 * place), lanes) if place else wide

    return reduce(operator.or_, (word(row, place) for place, row in enumerate(rows)))
