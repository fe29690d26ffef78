"""A thin layer over TVM's IRBuilder: Python is the kernels' meta language.

Kernels build low-level TIR (flat buffers, explicit vectors, no blocks) statement by statement, so a
register tile is a Python loop and every shape has code made for it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from edgekiln.compiler.ir.memory import Code
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import Expr, splat, vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

Buffer = Any  # tvm.tirx.Buffer
Index = Any  # int or an int32 expression


class KernelBuilder:
    """Collects one function: parameters first, then its body, inside `with`.

    The order of the calls is the order of the parameters: `tensor` for inputs, `constant`, `tensor`
    for the output, `items`, or `no_items` for a function that cannot be shared by threads. Inside
    `declarations` the body behind them is left out, and nothing of TVM is touched.
    """

    def __init__(self) -> None:
        self._constants: list[NDArray[np.generic]] = []
        self._tensors: list[int] = []
        self._stack = ExitStack()
        self._buffers = 0
        self._declaring = _declaring.get()
        self.work = 0

    def __enter__(self) -> Self:
        if self._declaring:
            return self
        from tvm.script.ir_builder import IRBuilder
        from tvm.script.ir_builder import tirx as T

        self._ir = self._stack.enter_context(IRBuilder())
        # Private: the function gets its name when equal bodies have been found.
        self._stack.enter_context(T.prim_func(is_private=True, s_tir=True))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> bool:
        self._stack.__exit__(kind, error, at)
        return isinstance(error, _Declared)

    def tensor(self, elements: int, dtype: str) -> Buffer:
        self._tensors.append(elements * np.dtype(dtype).itemsize)
        return self._parameter(elements, dtype)

    def _parameter(self, elements: int, dtype: str) -> Buffer:
        if self._declaring:
            return None
        from tvm.script.ir_builder import tirx as T

        self._buffers += 1
        return T.arg(f"p{self._buffers}", T.buffer((elements,), dtype, align=64))

    def constant(self, array: "NDArray[np.generic]") -> Buffer:
        self._constants.append(np.ascontiguousarray(array))
        return self._parameter(array.size, str(array.dtype))

    def items(self, work: int) -> tuple[Expr, Expr]:
        """Declare `work` independent items; returns this call's range of them."""
        self.work = work
        self.no_items()
        from tvm.script.ir_builder import tirx as T

        return T.arg("begin", T.int32()), T.arg("end", T.int32())

    def no_items(self) -> None:
        """All parameters are declared."""
        if self._declaring:
            raise _Declared

    def finish(self) -> Kernel:
        """After `with`: the function and its constants."""
        code = Code(emit=self._emitted)
        return Kernel(
            code=code,
            constants=tuple(self._constants),
            work=self.work,
            tensors=tuple(self._tensors),
        )

    def _emitted(self) -> Any:
        return self._ir.get()


class _Declared(Exception):  # noqa: N818, for it is no error
    """Leaves the body of `with KernelBuilder()`."""


_declaring = ContextVar("_declaring", default=False)


@contextmanager
def declarations() -> Iterator[None]:
    """Kernels built inside have constants and work, and no function."""
    token = _declaring.set(True)
    try:
        yield
    finally:
        _declaring.reset(token)


def loop(start: Index, stop: Index) -> Any:
    """`with loop(a, b) as i:` runs for i in a..b-1."""
    from tvm.script.ir_builder import tirx as T

    return T.serial(start, stop)


@contextmanager
def turns(count: int) -> Iterator[Index]:
    """`loop(0, count)`, or just 0 when there is one turn."""
    if count == 1:
        yield 0
    else:
        with loop(0, count) as i:
            yield i


@contextmanager
def when(condition: Expr) -> Iterator[None]:
    """`with when(condition):` guards the statements inside."""
    from tvm.script.ir_builder import tirx as T

    with T.If(condition), T.Then():
        yield


def bind(value: Index) -> Index:
    """Evaluate once, here. Python numbers need no name."""
    from tvm.script.ir_builder import tirx as T

    return value if isinstance(value, int) else T.bind(value)


def const(value: int) -> Expr:
    from tvm.script.ir_builder import tirx as T

    return T.int32(value)


def float_const(value: "float | np.float32") -> Expr:
    from tvm.script.ir_builder import tirx as T

    return T.float32(float(value))


def load(buffer: Buffer, index: Index, lanes: int = 1) -> Expr:
    """`lanes` consecutive elements."""
    from tvm.script.ir_builder import tirx as T

    return buffer[index] if lanes == 1 else buffer[T.ramp(_expr(index), 1, lanes)]


def store(buffer: Buffer, index: Index, value: Expr, lanes: int = 1) -> None:
    from tvm.script.ir_builder import tirx as T

    where = _expr(index) if lanes == 1 else T.ramp(_expr(index), 1, lanes)
    T.buffer_store(buffer, value, [where])


def register(dtype: str, lanes: int) -> Buffer:
    """A variable that holds one vector. Indexed by constants only, LLVM keeps it in a register."""
    from tvm.script.ir_builder import tirx as T

    return T.alloc_buffer((lanes,), dtype, scope="local")


def cast(value: Expr, dtype: str, lanes: int = 1) -> Expr:
    from tvm.script.ir_builder import tirx as T

    return T.Cast(vector(dtype, lanes), value)


def reinterpret(value: Expr, dtype: str, lanes: int = 1) -> Expr:
    from tvm.script.ir_builder import tirx as T

    return T.reinterpret(vector(dtype, lanes), value)


def minimum(a: Expr, b: Expr) -> Expr:
    from tvm.script.ir_builder import tirx as T

    return min(a, b) if isinstance(a, int) and isinstance(b, int) else T.min(a, b)


def maximum(a: Expr, b: Expr) -> Expr:
    """The larger; `b` where `a` is NaN."""
    from tvm.script.ir_builder import tirx as T

    return max(a, b) if isinstance(a, int) and isinstance(b, int) else T.max(a, b)


def clamp(value: Expr, low: Expr, high: Expr, lanes: int) -> Expr:
    """`value` inside [low, high] (scalars); `low` where it is NaN."""
    return minimum(maximum(value, splat(low, lanes)), splat(high, lanes))


def from_lane(first: int, value: Expr, before: Expr, lanes: int) -> Expr:
    """`value` from the lane `first` on, the scalar `before` in those before it."""
    from tvm.script.ir_builder import tirx as T

    return T.Select(T.ramp(0, 1, lanes) >= T.broadcast(first, lanes), value, splat(before, lanes))


def to_lane(count: int, value: Expr, after: Expr, lanes: int) -> Expr:
    """`value` in the first `count` lanes, the scalar `after` in those behind."""
    from tvm.script.ir_builder import tirx as T

    return T.Select(T.ramp(0, 1, lanes) < T.broadcast(count, lanes), value, splat(after, lanes))


def divmod_(value: Expr, divisor: int) -> tuple[Index, Index]:
    """Quotient and remainder of a non-negative value."""
    from tvm.script.ir_builder import tirx as T

    if divisor == 1:
        return value, const(0)
    return T.truncdiv(value, const(divisor)), T.truncmod(value, const(divisor))


def unravel(shape: Sequence[int], index: Index) -> tuple[Index, ...]:
    """The index on each axis of the `index`th element, as numpy.unravel_index."""
    indices: list[Index] = []
    for extent in reversed(shape):
        index, own = divmod_(index, extent)
        indices.insert(0, bind(own))
    return tuple(indices)


def for_vectors(count: int, widths: tuple[int, ...], body: Callable[[Index, int], None]) -> None:
    """Run body(start, lanes) so that every element of 0..count-1 is covered.

    The widest vectors that fit run in a loop; the last one overlaps its predecessor, so a body
    must be idempotent. What is narrower than every vector goes element by element.
    """
    lanes = next((width for width in widths if width <= count), 1)
    whole = count // lanes
    if whole == 1:
        body(0, lanes)
    else:
        with loop(0, whole) as i:
            body(bind(i * lanes), lanes)
    rest = count - whole * lanes
    if rest:
        last = min((width for width in widths if rest <= width <= count), default=1)
        body(count - last, last)


def _expr(index: Index) -> Expr:
    return const(index) if isinstance(index, int) else index
