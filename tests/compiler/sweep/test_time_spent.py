"""How long a study was worked on, and when its budget is over."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("optuna")

from optuna.trial import FrozenTrial, TrialState

from edgekiln.compiler.sweep.time_spent import is_over, spent_s

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGIN = datetime(2026, 1, 1)


def trials(*spans: tuple[float, float | None]) -> "Sequence[FrozenTrial]":
    return [
        FrozenTrial(
            number=number, trial_id=number, value=None, params={}, distributions={}, user_attrs={},
            system_attrs={}, intermediate_values={},
            state=TrialState.RUNNING if end is None else TrialState.COMPLETE,
            datetime_start=BEGIN + timedelta(seconds=begin),
            datetime_complete=None if end is None else BEGIN + timedelta(seconds=end),
        )
        for number, (begin, end) in enumerate(spans)
    ]  # fmt: skip


def at(seconds: float) -> float:
    return BEGIN.timestamp() + seconds


def test_pauses_do_not_count_and_what_is_done_at_once_counts_once() -> None:
    found = trials((0, 10), (5, 12), (6, 7), (1000, 1010))
    assert spent_s(found, at(5000)) == pytest.approx(22)


def test_a_trial_under_way_counts_until_now() -> None:
    assert spent_s(trials((0, 10), (20, None)), at(25)) == pytest.approx(15)


def test_no_trial_begins_that_would_not_end_in_time() -> None:
    found = trials((0, 10), (10, 20), (20, 30))
    assert not is_over(found, 41, at(30))
    assert is_over(found, 39, at(30))


def test_the_first_trial_begins_whatever_the_budget() -> None:
    assert not is_over([], 1, at(0))
