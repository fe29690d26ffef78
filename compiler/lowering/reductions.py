"""What TVM's reductions begin with, so that infinities are found, too.

TVM begins a maximum with the least finite number, which an infinity below all of them does not
replace, and the place of a maximum with -1, which is no place.
"""

from typing import Any

import numpy as np

TvmObject = Any  # TVM ships no types


def begun_right(func: TvmObject) -> TvmObject:
    """A `tvm.tirx.PrimFunc` of blocks, with what each reduction begins with put right."""
    return func.with_body(_rebuilt(func.body))


def _rebuilt(stmt: TvmObject) -> TvmObject:
    from tvm import tirx
    from tvm.s_tir.stmt import SBlock, SBlockRealize

    if isinstance(stmt, tirx.SeqStmt):
        return tirx.SeqStmt([_rebuilt(each) for each in stmt.seq])
    if isinstance(stmt, tirx.For):
        return tirx.For(
            stmt.loop_var, stmt.min, stmt.extent, stmt.kind, _rebuilt(stmt.body),
            stmt.thread_binding, stmt.annotations, stmt.step,
        )  # fmt: skip
    if isinstance(stmt, SBlockRealize):
        return SBlockRealize(stmt.iter_values, stmt.predicate, _rebuilt(stmt.block))
    if isinstance(stmt, SBlock):
        return SBlock(
            stmt.iter_vars, stmt.reads, stmt.writes, stmt.name_hint, _rebuilt(stmt.body),
            _begin(stmt.init), stmt.alloc_buffers, stmt.match_buffers, stmt.annotations,
        )  # fmt: skip
    return stmt


def _begin(init: TvmObject) -> TvmObject:
    from tvm import tirx

    if isinstance(init, tirx.SeqStmt):
        # An ArgMax or ArgMin begins with a place and a value.
        place, *values = init.seq
        if isinstance(place, tirx.BufferStore) and _is(place.value, -1):
            zero = tirx.const(0, str(place.buffer.dtype))
            place = tirx.BufferStore(place.buffer, zero, place.indices)
        return tirx.SeqStmt([place, *(_begin(value) for value in values)])
    if isinstance(init, tirx.BufferStore) and isinstance(init.value, tirx.FloatImm):
        dtype = str(init.buffer.dtype)
        last = float(np.finfo(dtype).max) if dtype in _FLOATS else 0.0
        # The least finite number of a maximum, the greatest of a minimum.
        if last and abs(init.value.value) == last:
            infinity = tirx.const(float(np.copysign(np.inf, init.value.value)), dtype)
            return tirx.BufferStore(init.buffer, infinity, init.indices)
    return init


_FLOATS = ("float16", "float32", "float64")


def _is(value: TvmObject, number: int) -> bool:
    from tvm import tirx

    return isinstance(value, tirx.IntImm) and int(value.value) == number
