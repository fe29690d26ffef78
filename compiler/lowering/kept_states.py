"""Where a program's states lie: in one buffer each, which the next call finds as it was left."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from edgekiln.compiler.ir.graph import StatePair
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.ir.program import Arg, Call, Const, KeptBuffer, Ref
from edgekiln.compiler.kernels.copy import CopyKernel
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.lowering.state import Lowering, spec_of
from edgekiln.runtime.errors import UnsupportedError

KEEP = "keep_state"  # the operation of a call that copies a state to where it is remembered


def keep(low: Lowering) -> tuple[KeptBuffer, ...]:
    """Let the buffer of each state's output be that of its input, if all calls that read the old
    value come before the first that writes the new one; else copy it there in the end.
    """
    return tuple(_keep(low, state) for state in low.graph.states)


def _keep(low: Lowering, state: StatePair) -> KeptBuffer:
    old, new = (_buffer(low, name) for name in (state.input, state.output))
    reads = (i for i, call in enumerate(low.calls) if _names(_read(call), old))
    writes = [i for i, call in enumerate(low.calls) if _names(_written(call), new)]
    if not writes:
        raise nothing_computes(state.next_name)
    # Not even one call may do both: it may write an element before it has read it.
    if max(reads, default=-1) < writes[0]:
        low.calls[:] = [_moved(call, new, old) for call in low.calls]
        del low.buffers[new]
    else:
        low.calls.append(_copy(low, state, new, old))
    tensor = replace(spec_of(low.tensor(state.input)), name=state.name)
    return KeptBuffer(buffer=old, tensor=tensor, output=state.next_name)


def nothing_computes(output: str) -> UnsupportedError:
    """The error of an output, or a state, that no call writes."""
    return UnsupportedError(
        f"nothing computes the model's output {output!r}", "leave it out of the model's outputs"
    )


def _buffer(low: Lowering, name: str) -> str:
    place = low.place(name)
    assert isinstance(place, Ref), f"{name}: a state that does not lie in the arena"
    return place.buffer


def _read(call: Call) -> Iterable[Arg]:
    return call.args[: len(call.args) - call.writes]


def _written(call: Call) -> Iterable[Arg]:
    return call.args[len(call.args) - call.writes :]


def _names(args: Iterable[Arg], buffer: str) -> bool:
    return any(isinstance(arg, Ref) and arg.buffer == buffer for arg in args)


def _moved(call: Call, source: str, to: str) -> Call:
    """The call with one buffer instead of another."""

    def moved(args: Iterable[Arg]) -> Iterator[Arg]:
        for arg in args:
            match arg:
                case Ref(buffer=name) if name == source:
                    yield replace(arg, buffer=to)
                case _:
                    yield arg

    where = call.where
    if where is not None and where.buffer == source:
        where = replace(where, buffer=to)
    return replace(call, args=tuple(moved(call.args)), where=where)


def _copy(low: Lowering, state: StatePair, source: str, to: str) -> Call:
    """A call that copies bytes, whatever they stand for, the border included."""
    size = low.buffers[source].bytes
    assert low.buffers[to].bytes == size, f"{state.name}: a state of two sizes"
    flat = Nhwc(n=1, h=1, w=1, c=size, dtype="uint8")
    kernel = CopyKernel(shape=(size,), x=flat, y=flat, x_strides=(1,), y_strides=(1,))
    copy = built(kernel, low.mk)
    constants = (Const(array=array) for array in copy.constants)
    return Call(
        name=f"{state.output}:kept",
        op=KEEP,
        code=copy.code,
        args=(Ref(buffer=source), *constants, Ref(buffer=to)),
        work=copy.work,
    )
