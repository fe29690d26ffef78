"""The tuner measures real programs, and what it chooses changes no bit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest

from edgekiln.compiler.autotune import tune
from edgekiln.compiler.autotune.candidate_program import CandidateProgram
from edgekiln.compiler.ci.lock import stage_of
from edgekiln.compiler.devices.named import open_device
from edgekiln.compiler.evaluation.parity import batches_for
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.compiler.tuning import table
from edgekiln.runtime.errors import ConfigError, UnsupportedError
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import isa, profile
from edgekiln.targets.profile import Memory
from tests.compiler import artifacts
from tests.compiler.estimate.tools import require
from tests.compiler.float_models import make
from tests.compiler.qdq_models import QdqModel
from tests.compiler.tuning.layers import ISA, NAME

TARGET = profile.load(NAME)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution, a depthwise one, and a dense layer: two kinds of kernels."""
    m = QdqModel(seed=5)
    x = m.q(m.input("x", 1, 16, 9, 9), scale=0.02)
    a = m.q(m.conv(x, 40, 16, 3, 3, out="a", pads=[1, 1, 1, 1]), 0.3, 4)
    b = m.q(m.conv(a, 40, 1, 3, 3, out="b", group=40, pads=[1, 1, 1, 1]), 0.3, 4)
    c = m.q(m.conv(b, 10, 40, 1, 1, out="c"), 0.9, 4)
    return m.save(tmp_path_factory.mktemp("tune") / "net.onnx", c)


@pytest.fixture(scope="module")
def tuned(model: Path) -> tune.Tuned:
    patch = pytest.MonkeyPatch()
    patch.setattr(tune, "CANDIDATES", 2)
    result = tune.tune(model, TARGET, trials=1)
    patch.undo()
    return result


def test_every_kind_of_layer_is_measured_here(tuned: tune.Tuned) -> None:
    assert [row.layer for row in tuned.rows] == [
        "conv 3×3 16→40, 9×9", "depthwise 3×3 40, 9×9", "conv 1×1 40→10, 9×9",
    ]  # fmt: skip
    assert {(row.target, row.unit) for row in tuned.rows} == {(NAME, "s")}
    assert all(0 < row.tile_cost <= row.default_cost for row in tuned.rows)
    assert all(row.gain_spread == 0 for row in tuned.rows)  # of one trial
    assert tuned.calls == (1, 1, 1)
    assert tuned.gain >= 1


def test_measuring_ends_when_trials_agree(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = iter([[[2.0, 1.0]], [[1.0, 2.0]], *[[[1.0, 2.0]]] * 9])
    monkeypatch.setattr(CandidateProgram, "measure", lambda *_: (next(costs), "a CPU"))
    trial = CandidateProgram(file=model, target=TARGET, sizes=(2,))
    taken, method, unit = tune._take(trial, 9, None, lambda *_: None)
    assert (len(taken), method, unit) == (4, "a CPU", "s")


def compiled(model: Path, home: Path, tuning: str) -> tuple[Path, list[str]]:
    context = StageContext(target=TARGET, scratch=home)
    CompileStage(tuning=tuning).run(artifacts.of(model), home / "net.lib", context)
    return home / "net.lib", context.notes


def test_tuned_code_gives_the_same_bits(model: Path, tuned: tune.Tuned, tmp_path: Path) -> None:
    choices = tune._layers(model, TARGET, compact=False)
    rows = []
    for row in tuned.rows:
        others = choices.layers[row.signature].kernel.tiles(isa.load(ISA))
        rows.append(replace(row, tile=others[1 if len(others) < 9 else 8]))
    table.write(tmp_path / "t.jsonl", rows)
    (tmp_path / "default").mkdir()
    plain, said = compiled(model, tmp_path / "default", "")
    assert said[-1] == "tiles (no tuning file): 0 of 3 layers measured"
    file, said = compiled(model, tmp_path, str(tmp_path / "t.jsonl"))
    assert said[-1] == "tiles (t.jsonl): 3 of 3 layers measured"
    a, b = AotRunner.open(plain), AotRunner.open(file)
    names = [{layer.kernel for layer in runner.spec.layers} for runner in (a, b)]
    assert len(names[0] ^ names[1]) == 6  # other code for all three
    for batch in batches_for(a.spec, model, data="", seed=2, samples=3):
        x = batch["x"]
        np.testing.assert_array_equal(a.run(x)[0], b.run(x)[0])


def test_float_layers_are_tuned_and_built_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = """
        a = Conv <group = 8, kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w1)
        b = Conv (a, w2)
        c = Sigmoid (b)
        y = MatMul (c, a)
    """
    weights: dict[str, tuple[int, ...]] = {"w1": (8, 1, 3, 3), "w2": (8, 8, 1, 1)}
    path = tmp_path / "float.onnx"
    onnx.save(make(body, weights, x="1, 8, 9, 9", y="1, 8, 9, 9"), path)
    monkeypatch.setattr(tune, "CANDIDATES", 2)
    found = tune.tune(path, TARGET, trials=1)
    assert [row.layer for row in found.rows] == [
        "float depthwise 3×3 8, 9×9", "float conv 1×1 8→8, 9×9 + Sigmoid",
        "float product 8 × 9×9 by 9×9",
    ]  # fmt: skip
    table.write(tmp_path / "t.jsonl", found.rows)
    file, said = compiled(path, tmp_path, str(tmp_path / "t.jsonl"))
    assert said[-1] == "tiles (t.jsonl): 3 of 3 layers measured"
    (given,) = batches_for(AotRunner.open(file).spec, path, data="", seed=2, samples=1)
    x = given["x"]
    reference = onnx.reference.ReferenceEvaluator(onnx.load(path)).run(None, {"x": x})
    assert isinstance(reference, list)
    expected = np.asarray(reference[0], np.float32)
    found_y = np.asarray(AotRunner.open(file).run(x)[0], np.float32)
    np.testing.assert_allclose(found_y, expected, rtol=1e-4, atol=1e-4)


def test_a_tuning_file_is_part_of_the_programs_key_and_lock(
    model: Path, tuned: tune.Tuned, tmp_path: Path
) -> None:
    store, file = Store(tmp_path / "store"), tmp_path / "t.jsonl"
    source = store.ingest(model, "onnx-int8")

    def used(tuning: str) -> str | None:
        return CompileStage(tuning=tuning).uses(source, TARGET).get("tuning")

    table.write(file, tuned.rows)
    before = used(str(file))
    table.write(file, tuned.rows[1:])
    made = store.run(CompileStage(tuning=str(file)), source, TARGET)
    uses = stage_of(made.chain[-1])["uses"]
    assert isinstance(uses, dict)
    locked = uses["tuning"]
    assert locked == used(str(file)) != before
    assert used("") is None
    with pytest.raises(ConfigError, match="no such tuning file: gone"):
        store.run(CompileStage(tuning="gone"), source, TARGET)


def test_a_model_without_a_choice_is_refused(tmp_path: Path) -> None:
    m = QdqModel(seed=1)
    x = m.q(m.input("x", 1, 4, 4, 4), scale=0.02)
    path = m.save(tmp_path / "relu.onnx", m.q(m.op("Relu", x, out="r"), 0.02))
    with pytest.raises(UnsupportedError, match="no layer with a choice of tiles"):
        tune.tune(path, TARGET, trials=1)


def test_a_target_that_cannot_run_here_is_estimated(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "CANDIDATES", 2)
    target = require("rpi4")
    result = tune.tune(model, target, trials=5)
    assert result.method.startswith("estimated (llvm-mca)")
    assert {(row.target, row.unit) for row in result.rows} == {("rpi4", "cycles")}
    assert result.trials == 1


def test_candidates_of_a_microcontroller_may_need_more_memory_than_it_has(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "CANDIDATES", 2)
    chip = require("cortex-m4")
    small = replace(chip, memory=Memory(flash_bytes=20_000, ram_bytes=20_000))
    result = tune.tune(model, small, trials=1)
    assert {(row.target, row.unit) for row in result.rows} == {("cortex-m4", "cycles")}


def test_no_device_measures_a_microcontroller(model: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"^cortex-m4: local cannot measure") as caught:
        tune.tune(model, profile.load("cortex-m4"), trials=1, device=open_device("local"))
    assert caught.value.hint == "leave out --device: its candidates are estimated"


def test_the_layers_of_a_compact_program_are_tuned_for_themselves(model: Path) -> None:
    plain, compact = (tune._layers(model, TARGET, compact) for compact in (False, True))

    def ways(choices: table.Choices) -> set[tuple[str, bool]]:
        return {
            (tile.algorithm, tile.compact)
            for layer in choices.layers.values()
            for tile in layer.kernel.tiles(layer.mk)
        }

    wide = {("widened", False), ("winograd", False)}
    assert ways(plain) == {("direct", False), ("winograd", True)} | wide
    assert ways(compact) == {("direct", False), ("winograd", True)}
    assert len(plain.layers.keys() - compact.layers.keys()) == 2  # the convolutions
