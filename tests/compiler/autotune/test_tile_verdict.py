"""Which candidate replaces the default: one whose gain is more than the gain's spread."""

from edgekiln.compiler.autotune.tile_verdict import TileVerdict


def test_a_steady_gain_wins_however_the_machine_drifts() -> None:
    verdict = TileVerdict.of([[1.0, 0.9], [2.0, 1.8], [1.5, 1.36]])
    assert verdict.chosen == 1
    assert verdict.costs == (1.5, 1.36)
    assert verdict.gain_spreads[0] == 0
    assert 0.008 < verdict.gain_spreads[1] < 0.009
    assert not verdict.undecided


def test_a_gain_within_its_spread_leaves_the_default() -> None:
    verdict = TileVerdict.of([[1.0, 0.9], [1.0, 1.0], [1.0, 0.9]])
    assert verdict.chosen == 0
    assert verdict.undecided


def test_of_two_the_one_that_surely_wins_is_chosen_though_the_other_looks_better() -> None:
    assert TileVerdict.of([[1.0, 0.9, 0.6], [1.0, 0.9, 1.2], [1.0, 0.9, 0.6]]).chosen == 1


def test_what_is_hardly_better_is_not_worth_a_change() -> None:
    assert TileVerdict.of([[1.0, 0.99]]).chosen == 0
    assert TileVerdict.of([[1e-7, 0.6e-7]]).chosen == 0  # below what clocks tell
    assert not TileVerdict.of([[1.0, 0.99]]).undecided
