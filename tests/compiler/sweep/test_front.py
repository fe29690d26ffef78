"""Which points are on a front, spreads and all."""

from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.sweep.front import SpreadValue, dominates, front_of, front_rows
from edgekiln.compiler.sweep.measures import COSTS
from edgekiln.compiler.sweep.result import TrialRow

BETTER = (True, False)  # accuracy, latency


def exact(*values: float) -> list[SpreadValue]:
    return [SpreadValue.exact(value) for value in values]


def spread_values() -> st.SearchStrategy[SpreadValue]:
    numbers = st.integers(0, 6)
    return st.builds(
        lambda low, by, on: SpreadValue(value=low + by, low=low, high=low + by + on),
        numbers, st.integers(0, 2), st.integers(0, 2),
    )  # fmt: skip


POINTS = st.lists(st.tuples(spread_values(), spread_values()), max_size=8)


@given(POINTS)
def test_a_front_with_spreads_holds_all_that_one_without_would(
    points: list[tuple[SpreadValue, ...]],
) -> None:
    known = [exact(*(each.value for each in point)) for point in points]
    assert set(front_of(known, BETTER)) <= set(front_of(points, BETTER))


@given(POINTS)
def test_whatever_is_left_out_is_dominated_by_a_point_that_stays(
    points: list[tuple[SpreadValue, ...]],
) -> None:
    stays = front_of(points, BETTER)
    assert bool(points) == bool(stays)
    for place, point in enumerate(points):
        left_out = place not in stays
        assert left_out == any(dominates(other, point, BETTER) for other in points)


@given(POINTS)
def test_a_front_of_exact_numbers_is_paretos(points: list[tuple[SpreadValue, ...]]) -> None:
    known = [exact(*(each.value for each in point)) for point in points]
    assert front_of(known, BETTER) == [
        place
        for place, own in enumerate(known)
        if not any(
            a[0].value >= own[0].value and a[1].value <= own[1].value and a != own for a in known
        )
    ]


def test_a_difference_within_the_spread_decides_nothing() -> None:
    fast = [SpreadValue.exact(0.9), SpreadValue(value=1.00, low=0.98, high=1.03)]
    same = [SpreadValue.exact(0.9), SpreadValue(value=1.02, low=1.01, high=1.04)]
    slow = [SpreadValue.exact(0.9), SpreadValue(value=1.10, low=1.08, high=1.12)]
    assert front_of([fast, same, slow], BETTER) == [0, 1]


def test_of_trials_a_latency_counts_that_was_measured_in_passing() -> None:
    def row(number: int, latency: float, holds: bool = True) -> TrialRow:
        return TrialRow(
            number=number, state="done", holds=holds, measures={"latency": latency, "bytes": 10},
            options={}, reason="", wall_s=0,
        )  # fmt: skip

    rows = [row(0, 1.0), row(1, 1.02), row(2, 1.2), row(3, 0.5, holds=False)]
    found = front_rows(rows, (COSTS["latency"], COSTS["bytes"]))
    assert [each.number for each in found] == [0, 1]
