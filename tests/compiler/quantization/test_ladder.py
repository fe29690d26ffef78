"""Accuracy control on a net with one layer that quantization breaks."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from edgekiln.compiler.onnx_model import four_bits
from edgekiln.compiler.quantization.corrections import CORRECTIONS, ROUNDING
from edgekiln.compiler.quantization.float_layers import Base, cheapest
from edgekiln.compiler.quantization.judge import Judge, QualityLimits, Verdict
from edgekiln.compiler.quantization.ladder import FLOAT_WEIGHTS, Climb
from edgekiln.compiler.quantization.ladder_record import (
    Ladder,
    LayerSensitivity,
    ladder_notes,
    read_ladder,
    write_ladder,
)
from edgekiln.compiler.quantization.scheme import Scheme
from edgekiln.compiler.quantization.sensitivity import sensitivities, units
from edgekiln.compiler.quantization.weight_scales import peak_scales, rounded_anew
from edgekiln.runtime.text import counted
from tests.compiler import skewed
from tests.compiler.quantization.schemes import Bench, bench

BROKEN = "p"


@pytest.fixture(scope="module")
def net() -> Bench:
    """With a range of one layer's result that leaves it four codes."""
    made = bench(skewed.fitted())
    low, high = made.scheme.ranges[BROKEN]
    wide = dict(made.scheme.ranges) | {BROKEN: (60 * low, 60 * high)}
    judge = Judge(made.model, made.feed, samples=0, scored=True)
    return replace(made, scheme=replace(made.scheme, ranges=wide), judge=judge)


def climb(net: Bench, limit: float, **changes: object) -> tuple[Scheme, Ladder]:
    options = {"corrections": {}} | changes
    way = Climb(
        judge=net.judge,
        probe=net.judge,
        limits=QualityLimits(lost={"accuracy": limit}),
        bench=net.work,
        **options,
    )
    found, ladder = way.climb(net.scheme)
    return found.scheme, ladder


def base_of(net: Bench, found: Sequence[LayerSensitivity]) -> Base:
    return Base(scheme=net.scheme, signal_db={each.name: each.sqnr_db for each in found})


def test_a_layer_comes_with_the_activation_that_its_integer_form_has_in_it(net: Bench) -> None:
    found = {unit.name: unit.nodes for unit in units(net.scheme)}
    assert found["e"] == ("e", "er")
    assert found["d"] == ("d", "dc")
    assert found["a"] == ("a",)
    assert "m" not in found  # moves codes
    macs = {unit.name: unit.macs for unit in units(net.scheme)}
    assert macs["a"] == 16 * 16 * 16 * 27
    assert macs["d"] == 16 * 16 * 32 * 9


@pytest.mark.parametrize("mode", ["only", "all-but"])
def test_the_broken_layer_is_the_most_sensitive(net: Bench, mode: str) -> None:
    found = sensitivities(net.scheme, net.judge, mode, lambda *_: None)
    # Alone, the layer that reads the broken result is as bad.
    assert found[0].name in ("p", "w")
    levels = [each.sqnr_db for each in found]
    assert levels == sorted(levels, reverse=mode == "all-but")
    assert all(each.scores.keys() == {"accuracy"} for each in found)


@pytest.fixture(scope="module")
def climbed(net: Bench) -> tuple[Scheme, Ladder]:
    return climb(net, 1.0)


def test_what_has_the_broken_range_gets_16_bits_and_nothing_else(
    climbed: tuple[Scheme, Ladder],
) -> None:
    scheme, ladder = climbed
    assert ladder.met
    assert [rung.name for rung in ladder.rungs] == ["as it is", "layers in 16 bits"]
    assert ladder.rungs[0].lost["accuracy"] > 5
    assert set(ladder.wide_layers) <= {"p", "w"}
    assert scheme.wide == set(ladder.wide_layers)
    assert (scheme.floats, ladder.float_layers) == (frozenset(), ())
    assert ladder.rungs[1].weight_bytes == ladder.rungs[0].weight_bytes
    assert ladder.rungs[1].wide_macs > 0


def test_the_fewest_weights_have_8_bits_where_all_in_4_lose_too_much(
    net: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(four_bits, "LEAST_WEIGHTS", 256)  # of more than one layer
    narrow = replace(net.scheme, ranges=ranges_of(net), weight_bits=4)
    scheme, ladder = climb(replace(net, scheme=narrow), 1.0)
    assert ladder.met
    assert [rung.name for rung in ladder.rungs] == ["as it is", "layers with weights of 8 bits"]
    assert 0 < len(ladder.whole_layers) < sum(narrow.has_few_bits(u.name) for u in units(narrow))
    assert scheme.whole == set(ladder.whole_layers)
    first, last = ladder.rungs
    weights = sum(unit.weights for unit in units(narrow) if unit.name in scheme.whole)
    assert last.weight_bytes - first.weight_bytes == weights / 2
    notes = ladder_notes(ladder, net.judge.scores)
    chosen = counted(len(ladder.whole_layers), "layer")
    assert notes[1].startswith(f"max-drop 1, {chosen} with weights of 8 bits: acc")


def test_where_one_layer_alone_has_4_bits_it_gets_8_back(net: Bench) -> None:
    narrow = replace(net.scheme, ranges=ranges_of(net), weight_bits=4)
    scheme, ladder = climb(replace(net, scheme=narrow), 1.0)
    assert [rung.name for rung in ladder.rungs] == ["as it is", "weights of 8 bits"]
    assert (scheme.weight_bits, scheme.whole, ladder.met) == (8, frozenset(), True)


def test_what_16_bits_do_not_give_back_stays_float(net: Bench) -> None:
    """Of weights with a few codes."""
    rows = rounded_anew(net.model, net.scheme.quantized(), peak_scales, 2)
    coarse = replace(net.scheme, ranges=ranges_of(net), weights={"e": rows["e"]})
    scheme, ladder = climb(replace(net, scheme=coarse), 0.5)
    names = ["as it is", "layers in 16 bits", "layers in float"]
    assert [(rung.name, rung.kept) for rung in ladder.rungs] == [
        *zip(names, (True, False, True), strict=True)
    ]
    assert "e" in ladder.float_layers
    assert scheme.floats >= set(ladder.float_layers)
    assert (scheme.wide, ladder.wide_layers) == (frozenset(), ())
    assert ladder.rungs[-1].weight_bytes > ladder.rungs[0].weight_bytes


def test_a_model_that_loses_little_is_left_as_it_is(net: Bench) -> None:
    scheme, ladder = climb(net, 100.0, corrections=CORRECTIONS)
    assert scheme is net.scheme
    assert [rung.name for rung in ladder.rungs] == ["as it is"]
    assert ladder.sensitivity == ()


def test_rounding_is_not_learned_where_activations_lose_the_signal(net: Bench) -> None:
    never = {ROUNDING: lambda _scheme, _bench: pytest.fail("learned how to round")}
    _, ladder = climb(net, 2.0, corrections=never)
    names = [rung.name for rung in ladder.rungs]
    assert names == ["as it is", FLOAT_WEIGHTS, "layers in 16 bits"]
    first, bound, _ = ladder.rungs
    assert not bound.kept
    assert bound.sqnr_db - first.sqnr_db < 3.0


def test_what_rounding_can_give_is_judged_without_what_corrects_it(net: Bench) -> None:
    never = {ROUNDING: lambda _scheme, _bench: pytest.fail("learned how to round")}
    corrected = {"bias correction": CORRECTIONS["bias correction"], **never}
    bounds = []
    for corrections in (never, corrected):
        _, ladder = climb(net, 2.0, corrections=corrections)
        bounds += [rung.sqnr_db for rung in ladder.rungs if rung.name == FLOAT_WEIGHTS]
    assert len(bounds) == 2
    assert bounds[1] == pytest.approx(bounds[0])


def test_rounding_is_learned_where_weights_lose_the_signal(net: Bench) -> None:
    rows = rounded_anew(net.model, net.scheme.quantized(), peak_scales, 3)
    coarse = replace(net, scheme=replace(net.scheme, ranges=ranges_of(net), weights=rows))
    _, ladder = climb(coarse, 2.0, corrections={ROUNDING: CORRECTIONS[ROUNDING]})
    first, learned, *_ = ladder.rungs
    assert learned.name == ROUNDING
    assert learned.kept
    assert learned.sqnr_db > first.sqnr_db


def test_a_correction_that_takes_from_the_signal_is_undone(net: Bench) -> None:
    def worse(scheme: Scheme, _bench: object) -> Scheme:
        wide = {name: (8 * low, 8 * high) for name, (low, high) in scheme.ranges.items()}
        return replace(scheme, ranges=wide)

    good = replace(net, scheme=replace(net.scheme, ranges=ranges_of(net)))
    _, ladder = climb(good, -50.0, corrections={"worse": worse})
    assert [(rung.name, rung.kept) for rung in ladder.rungs] == [
        ("as it is", True), ("worse", False), ("layers in 16 bits", False),
        ("layers in float", False),
    ]  # fmt: skip
    assert ladder.rungs[1].sqnr_db < ladder.rungs[0].sqnr_db


@pytest.mark.parametrize(("share", "kept"), [(0.8, False), (0.5, True)])
def test_exact_layers_begin_without_a_correction_that_gave_next_to_nothing(
    net: Bench, share: float, kept: bool
) -> None:
    """It was fitted to the noise of a layer that has none then."""
    low, high = net.scheme.ranges[BROKEN]

    def narrower(scheme: Scheme, _bench: object) -> Scheme:
        return replace(scheme, ranges=dict(scheme.ranges) | {BROKEN: (share * low, share * high)})

    scheme, ladder = climb(net, 1.0, corrections={"narrower": narrower})
    corrected = ladder.rungs[1]
    assert corrected.kept
    assert (corrected.sqnr_db - ladder.rungs[0].sqnr_db >= 1.0) == kept
    assert ladder.rungs[-1].name == "layers in 16 bits"
    assert (scheme.ranges[BROKEN] != net.scheme.ranges[BROKEN]) == kept


def test_a_correction_that_suffices_ends_the_climb(net: Bench) -> None:
    def right(scheme: Scheme, _bench: object) -> Scheme:
        return replace(scheme, ranges=ranges_of(net))

    _, ladder = climb(net, 2.0, corrections={"right": right, "never": right})
    assert [rung.name for rung in ladder.rungs] == ["as it is", "right"]
    assert (ladder.met, ladder.chosen, ladder.float_layers) == (True, "right", ())


def test_what_was_climbed_behind_the_chosen_step_is_no_part_of_it(
    net: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the limit holds from the first step on, but none is sure."""

    def right(scheme: Scheme, _bench: object) -> Scheme:
        return replace(scheme, ranges=ranges_of(net))

    monkeypatch.setattr(Climb, "_surely", lambda *_: False)
    scheme, ladder = climb(net, 100.0, corrections={"right": right})
    assert (ladder.met, ladder.chosen, scheme) == (True, "as it is", net.scheme)
    assert ladder.rungs[1].name == "right"
    assert ladder.rungs[1].sqnr_db > ladder.rungs[0].sqnr_db
    assert [rung.kept for rung in ladder.rungs] == [True, *[False] * (len(ladder.rungs) - 1)]


def ranges_of(net: Bench) -> dict[str, tuple[float, float]]:
    low, high = net.scheme.ranges[BROKEN]
    return dict(net.scheme.ranges) | {BROKEN: (low / 60, high / 60)}


def test_training_comes_before_exact_layers(net: Bench) -> None:
    taken = []

    def retrain(quantized, source):
        taken.append((quantized, source))
        return replace(net.scheme, ranges=ranges_of(net)).quantized()

    found, ladder = climb(net, 1.0, retrain=retrain)
    assert taken == [(net.scheme.quantized(), net.model)]
    assert [rung.name for rung in ladder.rungs] == ["as it is", "training"]
    assert (ladder.met, ladder.chosen) == (True, "training")
    assert found.floats == frozenset()


def test_training_that_does_not_suffice_is_followed_by_layers_in_16_bits(net: Bench) -> None:
    _, ladder = climb(net, 1.0, retrain=lambda quantized, _: quantized)
    assert [rung.name for rung in ladder.rungs] == ["as it is", "training", "layers in 16 bits"]
    assert [rung.kept for rung in ladder.rungs] == [True, False, True]
    assert (ladder.met, ladder.chosen) == (True, "layers in 16 bits")


def test_of_two_layers_that_help_the_cheaper_one_is_taken(net: Bench) -> None:
    found = sensitivities(net.scheme, net.judge, "only", lambda *_: None)
    choice = cheapest(base_of(net, found), net.judge, enough(12.0), lambda _: None)
    assert choice is not None
    assert choice.verdict.sqnr_db >= 12.0
    for name in choice.layers:  # none of them can be done without
        nodes = {node for unit in units(net.scheme) if unit.name in choice.layers
                 for node in unit.nodes if unit.name != name}  # fmt: skip
        without = replace(net.scheme, floats=frozenset(nodes))
        assert net.judge.verdict(without.quantized()).sqnr_db < 12.0


def enough(sqnr_db: float):
    def meets(verdict: Verdict) -> bool:
        return verdict.sqnr_db >= sqnr_db

    return meets


def test_where_no_set_of_layers_is_enough_it_is_told_what_most_of_them_give(net: Bench) -> None:
    found = sensitivities(net.scheme, net.judge, "only", lambda *_: None)
    most = cheapest(base_of(net, found), net.judge, enough(500.0), lambda _: None)
    assert most is not None
    assert len(most.layers) == len(found) - 1
    plain = net.judge.verdict(net.scheme.quantized())
    assert plain.sqnr_db < most.verdict.sqnr_db < 500.0


def test_a_models_file_keeps_what_was_done(net: Bench, climbed: tuple[Scheme, Ladder]) -> None:
    scheme, ladder = climbed
    model = scheme.quantized()
    assert read_ladder(model) is None
    write_ladder(model, ladder)
    assert read_ladder(model) == ladder
    notes = ladder_notes(ladder, net.judge.scores)
    assert notes[0].startswith("max-drop 1, as it is: accuracy ")
    assert f"max-drop 1, {counted(len(ladder.wide_layers), 'layer')} in 16 bits: acc" in notes[1]
    assert np.all(["on 100 validation samples" in note for note in notes])
