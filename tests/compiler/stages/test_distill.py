"""The stage as a whole, on a narrow network and few digits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.distill import DistillStage
from edgekiln.compiler.stages.training_phases import TrainingPhase
from edgekiln.models import artifact
from edgekiln.models import data as sets
from edgekiln.models.artifact import load_module
from edgekiln.runtime.errors import ConfigError, InputError
from tests.compiler import artifacts

DATA = "digits?limit=400&test=60&val=60&calib=20&size=16"
QUICK = DistillStage(epochs=2, batch_size=32)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> Path:
    return make("resnet8?width=8", tmp_path_factory.mktemp("student") / "student.pt")


def make(model: str, path: Path, seed: int = 0) -> Path:
    artifact.create(path, model, sets.load(DATA, 0), DATA, seed=seed)
    return path


def distill(
    stage: DistillStage, src: Path, home: Path, **context: object
) -> tuple[Path, StageContext]:
    ctx = StageContext(scratch=home / "scratch", **context)  # type: ignore[arg-type]
    stage.run(artifacts.of(src), home / "out.pt", ctx)
    return home / "out.pt", ctx


def test_training_helps_and_is_written_down(student, tmp_path):
    metrics = replace(QUICK, epochs=8, batch_size=16).run(
        artifacts.of(student), tmp_path / "out.pt", StageContext(scratch=tmp_path / "s")
    )
    module, meta = load_module(tmp_path / "out.pt")
    assert metrics["val_accuracy"] > 0.5  # chance is 0.1
    assert metrics["epochs"] == 8
    assert meta.history["distill"] == metrics
    assert meta.factory == "resnet8"
    assert not module.training


def test_the_same_options_give_the_same_bytes(student, tmp_path):
    for name in ("a", "b"):
        distill(QUICK, student, tmp_path / name)
    assert (tmp_path / "a/out.pt").read_bytes() == (tmp_path / "b/out.pt").read_bytes()


def test_a_killed_stage_resumes_to_the_same_bytes(student, tmp_path):
    distill(QUICK, student, tmp_path / "straight")

    def die(done: int, total: int, _text: str) -> None:
        if done > total / 2 + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(QUICK, student, tmp_path / "killed", advance=die)
    assert not (tmp_path / "killed/out.pt").exists()
    distill(QUICK, student, tmp_path / "killed")
    straight, killed = (tmp_path / f"{name}/out.pt" for name in ("straight", "killed"))
    assert straight.read_bytes() == killed.read_bytes()


def test_a_zoo_teacher_is_trained_first(student, tmp_path):
    texts: list[str] = []
    stage = replace(QUICK, teacher=("resnet8",), teacher_epochs=1)
    _, ctx = distill(
        stage, student, tmp_path, advance=lambda _done, _total, text: texts.append(text)
    )
    assert texts[0].startswith("teacher epoch 1/1")
    assert texts[-1].startswith("epoch 2/2")
    assert ctx.notes[0].startswith("teacher resnet8: val ")


def test_a_teacher_can_be_a_module_file(student, tmp_path):
    teacher = make("resnet8?width=16", tmp_path / "teacher.pt", seed=3)
    taught, ctx = distill(replace(QUICK, teacher=(str(teacher),)), student, tmp_path / "taught")
    plain, _ = distill(QUICK, student, tmp_path / "plain")
    assert taught.read_bytes() != plain.read_bytes()
    assert ctx.notes == []


def test_a_factory_teacher_comes_as_it_is(student, tmp_path):
    texts: list[str] = []
    stage = replace(QUICK, teacher=("edgekiln.models.zoo.resnet:resnet8",), epochs=1)
    distill(stage, student, tmp_path, advance=lambda _done, _total, text: texts.append(text))
    assert texts
    assert not any(text.startswith("teacher") for text in texts)


def test_transfer_learning_starts_from_the_checkpoint(student, tmp_path):
    other = make("resnet8?width=8", tmp_path / "other.pt", seed=9)
    frozen = replace(QUICK, epochs=1, learning_rate=1e-12, ema=0, init=str(other))
    out, _ = distill(frozen, student, tmp_path)
    weight = "blocks.0.conv1.weight"
    assert torch.allclose(
        load_module(out)[0].state_dict()[weight], load_module(other)[0].state_dict()[weight]
    )


@pytest.fixture(scope="module")
def trained(student, tmp_path_factory) -> Path:
    """The student after a training that taught it most of the digits."""
    home = tmp_path_factory.mktemp("trained")
    stage = replace(QUICK, epochs=8, batch_size=16)
    return distill(stage, student, home)[0]


def accuracy_on_validation(path: Path) -> float:
    return float(load_module(path)[1].history["distill"]["val_accuracy"])


def test_trained_weights_survive_the_defaults(student, trained, tmp_path):
    before = accuracy_on_validation(trained)
    metrics = replace(QUICK, init=str(trained)).run(
        artifacts.of(student), tmp_path / "out.pt", StageContext(scratch=tmp_path / "s")
    )
    assert metrics["val_accuracy_before"] == before > 0.5  # chance is 0.1
    assert metrics["val_accuracy"] >= before


def test_a_trained_module_trains_on_at_the_rate_for_trained_weights(trained, tmp_path):
    by_default, ctx = distill(replace(QUICK, epochs=1), trained, tmp_path / "default")
    gentle, _ = distill(replace(QUICK, epochs=1, learning_rate=2e-4), trained, tmp_path / "gentle")
    assert by_default.read_bytes() == gentle.read_bytes()
    assert ctx.notes[-1].startswith(
        f"val {100 * accuracy_on_validation(trained):.1f} % before, "
    ) or (ctx.notes[-1].startswith("training made it worse"))


def test_a_training_that_ruins_is_said_and_undone(student, trained, tmp_path):
    ruinous = replace(
        QUICK, init=str(trained), epochs=1, optimizer="sgd", learning_rate=50.0, ema=0
    )
    out, ctx = distill(ruinous, student, tmp_path)
    before = load_module(trained)[0].state_dict()
    assert all(torch.equal(t, before[name]) for name, t in load_module(out)[0].state_dict().items())
    (note,) = ctx.notes
    assert note == (
        "training made it worse: the weights it began with, val "
        f"{100 * accuracy_on_validation(trained):.1f} %, are kept; lower --learning-rate"
    )


def test_curves_go_where_the_user_wants_them_and_change_nothing(student, tmp_path):
    with_logs, _ = distill(QUICK, student, tmp_path / "a", logs=tmp_path / "curves")
    without, _ = distill(QUICK, student, tmp_path / "b")
    assert list((tmp_path / "curves/student").glob("events*"))
    assert with_logs.read_bytes() == without.read_bytes()


def test_a_changed_teacher_file_changes_the_key(tmp_path):
    teacher = make("resnet8?width=8", tmp_path / "teacher.pt")
    stage = replace(QUICK, teacher=(str(teacher),), data=DATA)
    before = stage.uses(None, None)["teacher 1"]
    make("resnet8?width=8", teacher, seed=1)
    assert before != stage.uses(None, None)["teacher 1"]


def test_a_teacher_for_other_classes_is_refused(student, tmp_path):
    artifact.create(
        tmp_path / "teacher.pt",
        "edgekiln.models.zoo.resnet:resnet8",
        sets.load(DATA, 0),
        DATA,
        seed=0,
    )
    module, meta = load_module(tmp_path / "teacher.pt")
    module.head = torch.nn.Linear(64, 3)
    artifact.save_module(tmp_path / "teacher.pt", module, meta)
    with pytest.raises(InputError) as caught:
        distill(replace(QUICK, teacher=(str(tmp_path / "teacher.pt"),)), student, tmp_path)
    assert caught.value.message == (
        f"{tmp_path / 'teacher.pt'}: gives (1, 3) for one sample of digits, expected (1, 10)"
    )


def test_a_missing_teacher_file_is_named(student, tmp_path):
    with pytest.raises(InputError) as caught:
        distill(replace(QUICK, teacher=("nowhere.pt",)), student, tmp_path)
    assert caught.value.message == "nowhere.pt: no such file"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("epochs", 0, "distill: epochs = 0"),
        ("batch_size", 1, "distill: batch-size = 1"),
        ("learning_rate", 0.0, "distill: learning-rate = 0.0"),
        ("ema", 1.0, "distill: ema = 1.0"),
        ("alpha", 1.5, "distill: alpha = 1.5"),
        ("temperature", 0.0, "distill: temperature = 0.0"),
        ("label_smoothing", -0.1, "distill: label-smoothing = -0.1"),
    ],
)
def test_options_out_of_range_are_refused(option, value, message):
    with pytest.raises(ConfigError) as caught:
        DistillStage(**{option: value})
    assert caught.value.message == message
    assert caught.value.exit_code == 2


def test_a_stage_in_phases_trains_the_epochs_of_all_of_them(student, tmp_path):
    phases = (
        TrainingPhase(epochs=1, resolution=8, learning_rate=1e-3),
        TrainingPhase(epochs=2, cutout=4, mixup=0.2),
    )
    texts: list[str] = []
    stage = replace(QUICK, phase=phases)
    distill(stage, student, tmp_path, advance=lambda _d, _t, text: texts.append(text))
    _, meta = load_module(tmp_path / "out.pt")
    assert meta.history["distill"]["epochs"] == 3
    assert texts[-1].startswith("epoch 3/3")


def test_a_killed_stage_in_phases_resumes_to_the_same_bytes(student, tmp_path):
    phases = (TrainingPhase(epochs=1, resolution=8), TrainingPhase(epochs=2, shift=1, cutout=4))
    stage = replace(QUICK, phase=phases, optimizer="muon", alternating_flip=True)
    straight, _ = distill(stage, student, tmp_path / "straight")

    class KilledError(Exception):
        pass

    def die(_done: int, _total: int, text: str) -> None:
        if text.startswith("epoch 2/3"):  # the first phase is over, the second has begun
            raise KilledError

    with pytest.raises(KilledError):
        distill(stage, student, tmp_path / "killed", advance=die)
    resumed, _ = distill(stage, student, tmp_path / "killed")
    assert straight.read_bytes() == resumed.read_bytes()


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        (TrainingPhase(epochs=0), "distill: phase 2: epochs = 0"),
        (TrainingPhase(epochs=1, resolution=-1), "distill: phase 2: resolution = -1"),
        (TrainingPhase(epochs=1, cutout=-1), "distill: cutout = -1"),
    ],
)
def test_a_phase_out_of_range_is_refused(phase, message):
    with pytest.raises(ConfigError) as caught:
        DistillStage(phase=(TrainingPhase(epochs=1), phase))
    assert caught.value.message == message


def test_what_is_added_is_learned_and_the_old_accuracy_is_shown_beside_the_new(trained, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 40, (200, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(200) % 10
    pixels[np.arange(200), labels] += 200  # a bright row tells the class: nothing like a digit
    np.savez(tmp_path / "rows.npz", x=pixels, y=labels)
    stage = replace(
        QUICK,
        epochs=4,
        batch_size=16,
        learning_rate=3e-3,
        shift=0,
        add_data=f"{tmp_path / 'rows.npz'}?val=30&test=10",
        rehearsal=0.5,
    )
    out, ctx = distill(stage, trained, tmp_path)
    metrics = load_module(out)[1].history["distill"]
    assert metrics["added_val_accuracy"] > metrics["added_val_accuracy_before"] + 0.3
    assert metrics["val_accuracy"] > metrics["val_accuracy_before"] - 0.15
    shown = [note for note in ctx.notes if " before, " in note]
    assert [note.partition(": val ")[0] for note in shown] == [DATA, stage.add_data]


def test_the_modules_own_data_is_nothing_to_add(student, tmp_path):
    with pytest.raises(ConfigError) as caught:
        distill(replace(QUICK, data=DATA, add_data=DATA), student, tmp_path)
    assert caught.value.message == f"distill: add-data = {DATA}: the module learned that before"
    assert not (tmp_path / "out.pt").exists()


def test_what_is_added_is_part_of_the_key(student, tmp_path):
    np.savez(tmp_path / "more.npz", x=np.zeros((40, 16, 16, 3), np.uint8), y=np.arange(40) % 10)
    plain, more = DistillStage(), DistillStage(add_data=str(tmp_path / "more.npz"))
    src = artifacts.of(student)
    assert plain.uses(src, None) != more.uses(src, None)
