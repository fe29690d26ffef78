"""`max-drop` of the quantize stage: it does what it takes, and says what it did."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization import ladder
from edgekiln.compiler.quantization.ladder_record import read_ladder
from edgekiln.compiler.stages.quantize import QuantizeStage
from edgekiln.runtime.errors import ConfigError
from tests.compiler import skewed
from tests.compiler.float_models import residual, write
from tests.compiler.quantizing import quantize, refused


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Depthwise layers between hard-swish, whose channels differ by up to 2^12."""
    model = skewed.skewed(skewed.fitted())
    return write(model, tmp_path_factory.mktemp("skewed") / "m.onnx")


def accuracy(model: onnx.ModelProto) -> float:
    """On the test split, which nothing was chosen on."""
    feed = skewed.digits(model)
    session = Session(model, optimize=False)
    answers = np.concatenate([session(call)[0] for call in feed.batches("test", batch=64)])
    (labels,) = feed.targets("test").values()
    return float((answers.argmax(axis=1) == labels).mean())


def test_corrections_bring_back_what_skewed_depthwise_layers_lost(broken: Path) -> None:
    real = accuracy(onnx.load(broken))
    plain, _, _ = quantize(broken, equalize_below=0.0, accept_sqnr=-200.0)
    assert real - accuracy(plain) > 0.3
    model, metrics, notes = quantize(broken, equalize_below=0.0, max_drop=("0.5",))
    assert metrics["sqnr_db"] > 20
    assert metrics["float_ops"] == 0
    assert notes[0].startswith("max-drop 0.5, as it is: accuracy ")
    assert notes[1].startswith("max-drop 0.5, equalization: accuracy ")
    record = read_ladder(model)
    assert record is not None
    assert (record.met, record.samples) == (True, 100)
    assert record.rungs[-1].lost["accuracy"] <= 0.5
    # One answer of the 400 is a quarter of a point: what samples leave in doubt stays in it.
    assert real - accuracy(model) <= 0.5 / 100 + 1 / 400


def test_training_is_a_step_where_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Corrections would do, and training would not be tried.
    monkeypatch.setattr(ladder, "CORRECTIONS", {})
    src = write(skewed.skewed(skewed.fitted(), octaves=4.5), tmp_path / "m.onnx")
    options = {"equalize_below": 0.0, "max_drop": ("15",), "qat_batch": 32}
    model, metrics, notes = quantize(src, **options, qat_epochs=2)
    record = read_ladder(model)
    assert record is not None
    assert [rung.name for rung in record.rungs] == ["as it is", "training"]
    assert record.rungs[1].scores["accuracy"] > record.rungs[0].scores["accuracy"] + 0.1
    assert (record.met, record.chosen) == (True, "training")
    assert any(note.startswith("max-drop 15, training: accuracy ") for note in notes)
    # What was trained is what is written.
    assert metrics["qat_best_epoch"] > 0
    assert accuracy(onnx.load(src)) - accuracy(model) <= 0.15


def test_a_model_without_a_limit_says_nothing_of_one(tmp_path: Path) -> None:
    model, _, notes = quantize(write(residual(), tmp_path / "m.onnx"))
    assert read_ladder(model) is None
    assert notes == []


def test_a_limit_that_holds_changes_no_bit_of_the_numbers(tmp_path: Path) -> None:
    src = write(residual(), tmp_path / "m.onnx")
    plain, _, _ = quantize(src)
    held, _, _ = quantize(src, max_drop=("100",))
    del held.metadata_props[:], plain.metadata_props[:]
    assert held.SerializeToString(deterministic=True) == plain.SerializeToString(deterministic=True)


@pytest.mark.parametrize("text", ["much", "-1", "digit=", "nan", "inf"])
def test_a_limit_is_a_number(text: str) -> None:
    with pytest.raises(ConfigError, match="max-drop = "):
        QuantizeStage(max_drop=(text,))


def test_a_limit_needs_labels_and_a_name_that_is_there(tmp_path: Path) -> None:
    src = write(residual(), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.zeros((40, 3, 32, 32), np.float32))
    error = refused(src, ConfigError, data=f"{tmp_path}/x.npy", max_drop=("1",))
    assert "has no labels, so there is no accuracy to lose" in error.message
    error = refused(src, ConfigError, max_drop=("top5=1",))
    assert error.message == "--max-drop top5: no task or metric has this name"


def test_labelled_validation_samples_judge_ranges_of_others(tmp_path: Path, broken: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.normal(size=(64, 3, 32, 32)).astype(np.float32))
    _, _, notes = quantize(broken, data=f"{tmp_path}/x.npy", validation="digits", max_drop=("100",))
    assert any("on 100 validation samples" in note for note in notes)
