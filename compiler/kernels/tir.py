"""Statements of TensorIR: Python is the kernels' meta language.

Kernels build low-level TIR (flat buffers, explicit vectors, no blocks) statement by statement, so a
register tile is a Python loop and every shape has code made for it. Each function adds to the
function that a `KernelBuilder` is collecting; expressions alone are `targets.isa.expressions`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import overload

from edgekiln.targets.isa.expressions import (
    Assembly,
    Buffer,
    Expr,
    Index,
    const,
    expression,
    lane_numbers,
    maximum,
    minimum,
    quotient_and_remainder,
    select,
    splat,
)


def loop(start: Index, stop: Index) -> AbstractContextManager[Expr]:
    """`with loop(a, b) as i:` runs for i in a..b-1."""
    from tvm.script.ir_builder import tirx as T

    serial: AbstractContextManager[Expr] = T.serial(start, stop)
    return serial


@contextmanager
def repeat(count: int) -> Iterator[Index]:
    """`loop(0, count)`, or no loop and just 0 when it would run once."""
    if count == 1:
        yield 0
    else:
        with loop(0, count) as i:
            yield i


@contextmanager
def when(condition: Expr | bool) -> Iterator[None]:
    """`with when(condition):` guards the statements inside."""
    from tvm.script.ir_builder import tirx as T

    with T.If(condition), T.Then():
        yield


@overload
def let(value: int) -> int: ...
@overload
def let(value: Expr) -> Expr: ...
def let(value: Index) -> Index:
    """Evaluate once, here, and give the result a name. Python numbers need none."""
    from tvm.script.ir_builder import tirx as T

    named: Index = value if isinstance(value, int) else T.bind(value)
    return named


def store(buffer: Buffer, index: Index, value: Expr, lanes: int = 1) -> None:
    """Write `lanes` elements side by side from `index` on."""
    from tvm.script.ir_builder import tirx as T

    first = expression(index)
    T.buffer_store(buffer, value, [first if lanes == 1 else T.ramp(first, 1, lanes)])


def call(function: Assembly, *addresses: Expr) -> None:
    """Call a function of addresses, which LLVM puts here."""
    from tvm.script.ir_builder import tirx as T

    with T.attr(const(0), "pragma_import_llvm", function.text):
        T.evaluate(T.call_extern("int32", function.name, *addresses))


def register(dtype: str, lanes: int) -> Buffer:
    """A variable that holds one vector. Indexed by constants only, LLVM keeps it in a register."""
    from tvm.script.ir_builder import tirx as T

    variable: Buffer = T.alloc_buffer((lanes,), dtype, scope="local")
    return variable


def scratch(dtype: str, elements: int, align: int) -> Buffer:
    """An array of the function's own on the stack.

    Args:
        align: bytes; -1: 16, which takes a register where the stack is aligned to fewer, as it is
            to eight on microcontrollers.
    """
    from tvm.script.ir_builder import tirx as T

    array: Buffer = T.alloc_buffer((elements,), dtype, scope="local", align=align)
    return array


def memory(dtype: str, elements: int) -> Buffer:
    """An array of the function's own. A large one lies in the program's arena, where LLVM's stack
    would be too small.
    """
    from tvm.script.ir_builder import tirx as T

    array: Buffer = T.alloc_buffer((elements,), dtype, scope="global")
    return array


def shared_memory(dtype: str, elements: int) -> Buffer:
    """An array that the threads of a GPU's group share."""
    from tvm.script.ir_builder import tirx as T

    array: Buffer = T.alloc_buffer((elements,), dtype, scope="shared")
    return array


def wait_for_group() -> None:
    """A thread of a GPU goes on when all of its group have come so far, and sees what they wrote
    to the memory that they share. All of them must come here.
    """
    from tvm.script.ir_builder import tirx as T

    T.evaluate(T.tvm_storage_sync("shared"))


def clamp(value: Expr, low: Expr, high: Expr, lanes: int) -> Expr:
    """`value` inside [low, high] (scalars); `low` where it is NaN."""
    return minimum(maximum(value, splat(low, lanes)), splat(high, lanes))


def from_lane(first: int, value: Expr, before: Expr, lanes: int) -> Expr:
    """`value` from the lane `first` on, the scalar `before` in those before it."""
    wanted = lane_numbers(lanes) >= splat(const(first), lanes)
    return select(wanted, value, splat(before, lanes))


def to_lane(count: int, value: Expr, after: Expr, lanes: int) -> Expr:
    """`value` in the first `count` lanes, the scalar `after` in those behind."""
    wanted = lane_numbers(lanes) < splat(const(count), lanes)
    return select(wanted, value, splat(after, lanes))


def divmod_(value: Expr, divisor: int) -> tuple[Expr, Expr]:
    """Quotient and remainder of a non-negative value."""
    return (value, const(0)) if divisor == 1 else quotient_and_remainder(value, divisor)


def unravel(shape: Sequence[int], index: Expr) -> tuple[Expr, ...]:
    """The index on each axis of the `index`th element, as numpy.unravel_index."""
    indices: list[Expr] = []
    for extent in reversed(shape):
        index, on_axis = divmod_(index, extent)
        indices.insert(0, let(on_axis))
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
            body(let(i * lanes), lanes)
    rest = count - whole * lanes
    if rest:
        # The narrowest vector that covers the rest overlaps the least.
        last = min((width for width in widths if rest <= width <= count), default=1)
        body(count - last, last)
