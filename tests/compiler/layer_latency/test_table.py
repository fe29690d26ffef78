"""Tables of latencies: what is measured on this machine, and what lies between the points."""

import pytest

from edgekiln.compiler.layer_latency import table
from edgekiln.compiler.layer_latency.geometry import LayerCall, LayerGeometry
from edgekiln.compiler.layer_latency.layers_model import SizedLayer
from edgekiln.compiler.layer_latency.table import LatencyTable, WidthGrid, latency_table
from edgekiln.compiler.pipeline.object_cache import ObjectCache
from edgekiln.compiler.pipeline.stage import silent
from edgekiln.targets import profile

CONV = LayerGeometry(kind="conv", extents=(12, 12), kernel=(3, 3), pads=(1, 1, 1, 1))
CALLS = {
    "stem": LayerCall(geometry=CONV, inputs=3, outputs=32, calls=1),
    "deep": LayerCall(
        geometry=LayerGeometry(
            kind="conv", extents=(12, 12), kernel=(3, 3), pads=(1, 1, 1, 1), multiplier=1
        ),
        inputs=32, outputs=32, calls=2,
    ),
    "head": LayerCall(
        geometry=LayerGeometry(kind="linear", extents=(8, 1)), inputs=32, outputs=10, calls=1
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ObjectCache:
    return ObjectCache(root=tmp_path_factory.mktemp("objects"))


@pytest.fixture(scope="module")
def measured(cache: ObjectCache) -> LatencyTable:
    host = profile.load("host")
    return latency_table(CALLS, host, multiple=16, cache=cache, advance=silent)


def test_every_kind_of_layer_is_measured_here(measured: LatencyTable) -> None:
    assert not measured.missing
    assert measured.unit == "s"
    assert not measured.estimated
    assert measured.method
    for name, call in CALLS.items():
        whole = measured.cost(name, call.inputs, call.outputs)
        assert 1e-9 < whole < 1e-2
        assert measured.cost(name, call.inputs, 16) <= whole * (1 + 1e-9)  # interpolated


def test_a_layer_costs_what_its_calls_do(measured: LatencyTable) -> None:
    grid = measured.grids["deep"]
    assert measured.cost("deep", 32, 32) == 2 * grid.cost(32, 32)


def test_what_was_measured_once_is_read_from_the_cache(
    measured: LatencyTable, cache: ObjectCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(table, "measure", never)
    host = profile.load("host")
    again = latency_table(CALLS, host, multiple=16, cache=cache, advance=silent)
    assert again == measured


def test_another_multiple_or_place_is_measured_anew(
    measured: LatencyTable, cache: ObjectCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def note(layers: list[SizedLayer], *_: object, **__: object) -> None:
        asked.append(len(layers))
        raise InterruptedError

    monkeypatch.setattr(table, "measure", note)
    host = profile.load("host")
    for multiple, place in ((8, ""), (16, "board")):
        with pytest.raises(InterruptedError):
            latency_table(CALLS, host, multiple=multiple, place=place, cache=cache, advance=silent)
    assert len(asked) == 2
    assert measured.grids


GRID = WidthGrid(outputs=(16, 32), inputs=(8, 16), costs=((1.0, 2.0), (3.0, 6.0)))


@pytest.mark.parametrize(
    ("inputs", "outputs", "cost"),
    [
        (8, 16, 1.0),
        (16, 32, 6.0),
        (12, 16, 1.5),
        (12, 24, 3.0),
        (16, 8, 1.0),  # below the first point: its part
        (4, 16, 0.5),
        (16, 64, 6.0),  # no network has more than its full width
    ],
)
def test_between_points_costs_lie_on_straight_lines(inputs: int, outputs: int, cost: float) -> None:
    assert GRID.cost(inputs, outputs) == pytest.approx(cost)
