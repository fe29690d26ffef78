"""Cascades of scores that nobody computed: what the margins decide, and what has none."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekiln.compiler.trace import cascade
from edgekiln.models.tasks.classification import Classification
from edgekiln.runtime.errors import ConfigError

SAMPLES, CLASSES = 500, 6
Array = NDArray[Any]


def found(
    monkeypatch: pytest.MonkeyPatch,
    told: tuple[Array, Array],
    labels: Array,
    *,
    scale: float | None = None,
    most_lost: float = 0.0,
) -> cascade.Cascade:
    """The cascade of a program whose two points say `told`, (N, classes), of both splits."""
    spec = SimpleNamespace(
        name="net", every_point=[SimpleNamespace(layers=[SimpleNamespace(macs=n)]) for n in (4, 1)]
    )
    output = SimpleNamespace(outputs=[SimpleNamespace(scale=scale)])
    feed = SimpleNamespace(
        name="data",
        scored=True,
        heads=[SimpleNamespace(task=Classification())],
        targets=lambda _split: {"y": labels},
    )

    def subject(_spec: object, _files: object, point: int) -> Any:
        return SimpleNamespace(point=point, meta=None, takes=None, samples_in_time=0)

    def predictions(asked: Any, *_: object) -> Any:
        yield None, [told[asked.point]], len(labels)

    for name, stand_in in (
        ("program_subject", subject),
        ("predictions", predictions),
        ("feed_for", lambda *_, **__: feed),
        ("names", lambda _: ("full", "half")),
        ("at_point", lambda *_: output),
    ):
        monkeypatch.setattr(cascade, name, stand_in)
    opened: Any = SimpleNamespace(spec=spec, files={})
    (one,) = cascade.cascades(opened, "data", 0, most_lost, lambda *_: None)
    return one


@pytest.mark.parametrize("scale", [0.0123456, 0.1, 1 / 3])
def test_codes_are_compared_as_the_program_compares_them(
    monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    draw = np.random.default_rng(0)
    codes = draw.integers(-128, 128, (SAMPLES, CLASSES))
    values = (codes - 3).astype(np.float32) * np.float32(scale)
    labels = draw.integers(0, CLASSES, SAMPLES)
    best = np.eye(CLASSES, dtype=np.float32)[labels]
    one = found(monkeypatch, (best, values), labels, scale=scale, most_lost=0.3)
    low, high = np.sort(codes, axis=1)[:, -2:].T
    assert one.margin_codes
    assert one.asked == (high - low < one.margin_codes).mean()
    assert one.margin == pytest.approx(one.margin_codes * scale)
    for place in one.curve:
        assert place.asked == (high - low < round(place.margin / scale)).mean()


def test_a_loss_of_just_what_is_allowed_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In floats 0.8 - 0.1 is more than 0.7."""
    labels = np.zeros(100, np.int64)
    told = np.zeros((2, 100, CLASSES), np.float32)
    for point, right in enumerate((80, 70)):
        told[point, :right, 0] = told[point, right:, 1] = 1
    one = found(monkeypatch, (told[0], told[1]), labels, most_lost=0.1)
    assert (one.margin, one.asked) == (0, 0)


def test_what_has_no_lead_has_no_cascade(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.zeros(SAMPLES, np.int64)
    single = np.ones((SAMPLES, 1), np.float32)
    with pytest.raises(ConfigError, match="one number a sample"):
        found(monkeypatch, (single, single), labels)
    scores = np.zeros((SAMPLES, CLASSES), np.float32)
    scores[7, 1:] = -np.inf
    with pytest.raises(ConfigError, match="some of its scores are infinite"):
        found(monkeypatch, (scores, scores), labels)


def test_the_last_place_always_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.full((SAMPLES, CLASSES), np.nan, np.float32)
    one = found(monkeypatch, (scores, scores), np.zeros(SAMPLES, np.int64))
    assert [place.margin >= 0 for place in one.curve] == [True] * len(one.curve)
    assert one.curve[-1].asked == 1
