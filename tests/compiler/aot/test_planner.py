"""The arena: nothing alive is overwritten, and little is wasted."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.aot import planner
from edgekiln.compiler.aot.planner import ALIGN, Interval
from edgekiln.compiler.ir.memory import Code
from edgekiln.compiler.ir.program import ArenaBuffer, Call, Const, In, Out, Program, Ref


@st.composite
def intervals(draw: st.DrawFn) -> list[Interval]:
    spans = draw(
        st.lists(
            st.tuples(st.integers(1, 5000), st.integers(0, 20), st.integers(0, 6)), max_size=14
        )
    )
    return [
        Interval(name=f"b{n}", bytes=size, first=first, last=first + length)
        for n, (size, first, length) in enumerate(spans)
    ]


@given(intervals())
def test_buffers_alive_together_never_overlap(buffers: list[Interval]) -> None:
    plan = planner.plan(buffers)
    assert plan.offsets.keys() == {buffer.name for buffer in buffers}
    together = [(a, b) for a, b in itertools.combinations(buffers, 2) if a.overlaps(b)]
    below = [sorted(pair, key=lambda i: plan.offsets[i.name]) for pair in together]
    assert all(plan.offsets[a.name] + a.bytes <= plan.offsets[b.name] for a, b in below)


@given(intervals())
def test_the_peak_holds_every_buffer_and_is_not_below_the_bound(buffers: list[Interval]) -> None:
    plan = planner.plan(buffers)
    assert plan.bound <= plan.peak
    assert plan.peak == max((plan.offsets[b.name] + b.room for b in buffers), default=0)
    assert all(offset % ALIGN == 0 for offset in plan.offsets.values())


def test_a_chain_needs_only_its_two_largest_neighbours() -> None:
    sizes = [4096, 8192, 2048, 6400, 64]
    chain = [Interval(name=str(n), bytes=s, first=n, last=n + 1) for n, s in enumerate(sizes)]
    plan = planner.plan(chain)
    assert plan.peak == plan.bound == 4096 + 8192


def test_the_local_search_reaches_every_bound_and_greedy_orders_alone_miss_four_of_forty() -> None:
    rng = np.random.default_rng(7)
    cases = [
        [
            Interval(name=str(n), bytes=int(size) * 64, first=int(at), last=int(at + length))
            for n, (size, at, length) in enumerate(rng.integers((1, 0, 0), (40, 12, 5), (12, 3)))
        ]
        for _ in range(40)
    ]
    searched = [planner.plan(buffers) for buffers in cases]
    greedy = [planner.plan(buffers, search_steps=0) for buffers in cases]
    assert [plan.peak for plan in searched] == [plan.bound for plan in searched]
    assert sum(plan.peak == plan.bound for plan in greedy) == 36


def _call(name: str, *args: In | Out | Ref | Const, writes: int = 1) -> Call:
    return Call(name=name, op="copy", code=Code(emit=lambda: None), args=args, writes=writes)


def _program(*calls: Call) -> Program:
    names = {a.buffer for call in calls for a in call.args if isinstance(a, Ref)}
    return Program(
        name="p", inputs=(), outputs=(), calls=calls, model_sha256="",
        buffers=tuple(ArenaBuffer(name=n, bytes=100) for n in sorted(names)),
    )  # fmt: skip


def test_a_buffer_lives_from_its_first_writer_to_its_last_reader() -> None:
    program = _program(
        _call("a", In(index=0), Ref(buffer="a")),
        _call("b", Ref(buffer="a"), Ref(buffer="b")),
        _call("c", Ref(buffer="a"), Ref(buffer="b"), Out(index=0)),
    )
    assert planner.lifetimes(program) == [
        Interval(name="a", bytes=100, first=0, last=2),
        Interval(name="b", bytes=100, first=1, last=2),
    ]


def test_a_joined_buffer_lives_from_its_first_part() -> None:
    program = _program(
        _call("left", In(index=0), Ref(buffer="joined")),
        _call("right", In(index=0), Ref(buffer="joined", offset=64)),
        _call("out", Ref(buffer="joined"), Out(index=0)),
    )
    assert planner.lifetimes(program) == [Interval(name="joined", bytes=100, first=0, last=2)]


def test_an_unwritten_buffer_is_our_bug_and_named() -> None:
    program = _program(_call("out", Ref(buffer="ghost"), Out(index=0)))
    with pytest.raises(AssertionError, match="out reads ghost before anyone wrote it"):
        planner.lifetimes(program)
