"""A program whose buffers and constants lie apart, each in pages of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekiln.benchmarks.sanitizer.block import PAGE, Edge, GuardedBlock, check_filled, told
from edgekiln.compiler.aot.planner import ALIGN, ArenaPlan, Interval
from edgekiln.compiler.ir.memory import OVERREAD_BYTES
from edgekiln.compiler.ir.program import Const, In, Program
from edgekiln.runtime.manifest import TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Span:
    """A buffer's pages in the arena, a forbidden one behind them, and its own bytes among them."""

    name: str
    begin: int  # of the pages, in bytes from the arena's start
    end: int
    offset: int  # of the buffer
    bytes: int


def spans(intervals: Sequence[Interval], edge: Edge) -> list[Span]:
    """Where buffers lie that share no page; each at an edge of its pages, as a `GuardedBlock`."""
    #   begin                       end
    #   | filling …  bytes  room    | forbidden page | next span …       edge "end"
    #   | bytes  room  filling …    | forbidden page | next span …       edge "begin"
    # `offset` is where the bytes begin.
    found, begin = [], 0
    for interval in intervals:
        end = begin + -(-(interval.bytes + OVERREAD_BYTES) // PAGE) * PAGE
        last = (end - OVERREAD_BYTES - interval.bytes) // ALIGN * ALIGN
        offset = last if edge == "end" else begin
        found.append(
            Span(name=interval.name, begin=begin, end=end, offset=offset, bytes=interval.bytes)
        )
        begin = end + PAGE
    return found


def placed(intervals: Sequence[Interval], *, edge: Edge, into: list[Span]) -> ArenaPlan:
    """A plan for `aot.build`, which adds the bytes that may be read behind the last buffer.

    `into` gets the plan's spans.
    """
    into.extend(spans(intervals, edge))
    peak = into[-1].end + PAGE - OVERREAD_BYTES if into else 0
    return ArenaPlan(offsets={span.name: span.offset for span in into}, peak=peak, bound=peak)


def constants_as_inputs(program: Program) -> "tuple[Program, list[NDArray[np.generic]]]":
    """The program with its constants as further inputs, and the constants."""
    # In a program they lie in one block, where whoever reads over the end of one finds the next.
    arrays: list[NDArray[np.generic]] = []
    calls = []
    for call in program.calls:
        args = list(call.args)
        for place, arg in enumerate(args):
            if isinstance(arg, Const):
                args[place] = In(index=len(program.inputs) + len(arrays))
                arrays.append(arg.array)
        calls.append(replace(call, args=tuple(args)))
    specs = [
        TensorSpec(name=f"constant {index}", shape=array.shape, dtype=array.dtype.name)
        for index, array in enumerate(arrays)
    ]
    return replace(program, inputs=(*program.inputs, *specs), calls=tuple(calls)), arrays


class Arena(GuardedBlock):
    """A program's arena; where its buffers lie apart, with a forbidden page behind each."""

    def __init__(self, size: int, spans: Sequence[Span], *, edge: Edge, filling: bytes) -> None:
        super().__init__("the arena", size, edge=edge, filling=filling, room=0)
        self._spans, self._pattern = spans, filling
        # From the end of each span's pages to where the next one begins.
        ends = [*(span.begin for span in spans[1:]), size]
        for span, end in zip(spans, ends, strict=False):
            self.forbid(span.end, end - span.end)

    def tell(self, address: int) -> str:
        """The place is named by the nearest buffer."""
        at = address - self.address
        for span in self._spans:
            if span.begin <= at < span.end + PAGE:
                return told(at - span.offset, span.bytes, f"buffer {span.name!r}")
        return super().tell(address)

    def check(self) -> None:
        """Raises MemoryFaultError: something beside the arena, or beside a buffer, was written."""
        super().check()
        for span in self._spans:
            first, last = span.offset, span.offset + span.bytes
            for begin, end, where in ((span.begin, first, "before"), (last, span.end, "behind")):
                memory = self.bytes[begin:end]
                check_filled(memory, self._pattern, begin, f"{where} buffer {span.name!r}")
