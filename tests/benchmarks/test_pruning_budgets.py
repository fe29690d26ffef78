"""The table that holds budgets of latency against those of multiply-accumulates."""

import pytest

from edgekiln.benchmarks.pruning_budgets import PrunedNetwork, equally_accurate_s, table
from edgekiln.compiler.pruning.budget import CostKind


def network(kind: CostKind, share: float, accuracy: float, latency_s: float) -> PrunedNetwork:
    return PrunedNetwork(
        kind=kind, share=share, accuracy=accuracy, macs_ratio=share, latency_s=latency_s
    )


BY_MACS = [network("macs", 0.5, 0.9, 40e-6), network("macs", 0.25, 0.8, 20e-6)]


def test_between_two_networks_latency_is_on_the_line_through_them() -> None:
    assert equally_accurate_s(BY_MACS, 0.85) == pytest.approx(30e-6)
    assert equally_accurate_s(BY_MACS, 0.9) == pytest.approx(40e-6)


def test_outside_of_them_nothing_is_said() -> None:
    assert equally_accurate_s(BY_MACS, 0.95) is None
    assert equally_accurate_s(BY_MACS, 0.7) is None


def test_a_gain_is_what_a_budget_of_latency_saves_at_equal_accuracy() -> None:
    *_, last = table([*BY_MACS, network("latency", 0.5, 0.85, 20e-6)])
    assert last == "| latency | 0.5 | 0.8500 | 0.500 | 20.0 | 30.0 | 1.50× |"
