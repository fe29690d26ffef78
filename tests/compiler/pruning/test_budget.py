"""What users write as a budget."""

import pytest

from edgekiln.compiler.pruning.budget import Budget, parse_budgets
from edgekiln.compiler.pruning.schedule import kept_after
from edgekiln.runtime.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("macs=0.5", Budget(kind="macs", share=0.5)),
        ("parameters=25%", Budget(kind="parameters", share=0.25)),
        ("macs = 1.5M", Budget(kind="macs", amount=1.5e6)),
        ("parameters=3000", Budget(kind="parameters", amount=3000)),
        ("bytes=64KiB", Budget(kind="bytes", amount=65536)),
        ("arena=20 kB", Budget(kind="arena", amount=20000)),
        ("latency=2ms", Budget(kind="latency", amount=0.002)),
        ("latency=350µs", Budget(kind="latency", amount=350e-6)),
        ("latency=1", Budget(kind="latency", share=1.0)),
    ],
)
def test_a_budget_is_a_share_or_an_amount_with_a_unit(text, budget):
    found = Budget.parse(text)
    assert found.kind == budget.kind
    assert (found.share, found.amount) == pytest.approx((budget.share, budget.amount))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("0.5", "write KIND=AMOUNT, such as macs=0.5, bytes=64KiB or latency=2ms"),
        ("macs=", "write KIND=AMOUNT, such as macs=0.5, bytes=64KiB or latency=2ms"),
        ("macs=-1", "write KIND=AMOUNT, such as macs=0.5, bytes=64KiB or latency=2ms"),
        ("macs=0", "write KIND=AMOUNT, such as macs=0.5, bytes=64KiB or latency=2ms"),
        ("macs=3KiB", "macs is given as a share or in k, M, G"),
        ("mac=0.5", "did you mean macs?"),
        ("joules=3", "a budget is of: arena, bytes, latency, macs, parameters"),
        ("latency=2min", "latency is given as a share or in s, ms, us, µs"),
        ("latency=20", "latency is given as a share or in s, ms, us, µs"),
        ("bytes=140%", "a share is 100 % at most"),
        (
            "macs=50",
            "a share is 1 at most: write macs=0.5 or macs=50%; so few macs leave no network",
        ),
    ],
)
def test_what_is_no_budget_is_refused_with_a_word_on_its_form(text, hint):
    with pytest.raises(ConfigError) as caught:
        Budget.parse(text)
    assert caught.value.message == f"prune: budget {text!r}"
    assert caught.value.hint == hint


def test_two_budgets_of_one_kind_are_refused():
    with pytest.raises(ConfigError) as caught:
        parse_budgets(("macs=0.5", "bytes=0.5", "macs=2M"))
    assert caught.value.message == "prune: two budgets of macs"


def test_an_amount_above_what_there_is_asks_for_no_cut():
    assert Budget.parse("bytes=64KiB").share_of(50_000) == 1
    assert Budget.parse("bytes=64KiB").share_of(4 * 65536) == 0.25


@pytest.mark.parametrize("schedule", ["linear", "cubic", "geometric"])
def test_every_schedule_falls_to_the_share(schedule):
    left = kept_after(schedule, 4, 0.2)
    assert left[-1] == pytest.approx(0.2)
    assert left == sorted(left, reverse=True)
    assert left[0] < 1
    assert kept_after(schedule, 1, 0.2) == pytest.approx([0.2])


def test_a_cubic_schedule_cuts_most_at_first_and_a_geometric_one_least():
    first = {name: kept_after(name, 4, 0.2)[0] for name in ("linear", "cubic", "geometric")}
    assert first["cubic"] < first["geometric"] < first["linear"]
