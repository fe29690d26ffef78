"""Who may teach, in distillation and in recovery from a cut: on a narrow network and few digits."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgekiln.compiler.build import recipe
from edgekiln.compiler.build.resolve import allowed
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.distill import DistillStage
from edgekiln.compiler.stages.prune import PruneStage
from edgekiln.models import artifact
from edgekiln.models import data as sets
from edgekiln.runtime.errors import ConfigError
from tests.compiler import artifacts

DATA = "digits?limit=160&test=40&val=40&calib=20&size=16"
QUICK = DistillStage(epochs=2, batch_size=32)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> Path:
    return make("resnet8?width=8", tmp_path_factory.mktemp("student") / "student.pt")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    return make("resnet8?width=16", tmp_path_factory.mktemp("teacher") / "teacher.pt", seed=3)


def make(model: str, path: Path, seed: int = 0) -> Path:
    artifact.create(path, model, sets.load(DATA, 0), DATA, seed=seed)
    return path


def run(stage, src: Path, home: Path, **context) -> tuple[Path, StageContext, dict[str, float]]:
    ctx = StageContext(scratch=home / "scratch", **context)
    metrics = stage.run(artifacts.of(src), home / "out.pt", ctx)
    return home / "out.pt", ctx, metrics


def test_a_network_may_be_its_own_teacher_which_is_trained_first(student, tmp_path):
    stage = replace(QUICK, epochs=1, teacher=("self",), teacher_epochs=1)
    _, ctx, metrics = run(stage, student, tmp_path)
    assert ctx.notes[0].startswith("teacher self: val ")
    assert [curves.training for curves in ctx.curves] == ["teacher self", "student"]
    # What the teacher reached is a line in the student's picture, and a number of the report.
    assert ctx.curves[1].teacher["accuracy/val"] == pytest.approx(metrics["teacher_val_accuracy"])
    assert len(ctx.curves[1].series["loss/train"]) == metrics["epochs"] == 1


def test_several_teachers_count_by_their_weights(student, teacher, tmp_path):
    names = (str(teacher), str(make("resnet8?width=8", tmp_path / "other.pt", seed=5)), "ema")
    stage = replace(QUICK, epochs=1, teacher=names, ema=0.9)
    outs = [
        run(replace(stage, teacher_weight=weights), student, tmp_path / str(len(weights)))[0]
        for weights in ((), (1.0, 5.0, 2.0))
    ]
    assert outs[0].read_bytes() != outs[1].read_bytes()
    imitation = replace(stage, teacher=("ema", "a.pt"), teacher_weight=(1.0, 3.0))
    # The average of the weights comes last, wherever it was named.
    assert imitation.objective("classification").imitation.shares == (0.75, 0.25)


def test_kept_answers_serve_the_next_student(student, teacher, tmp_path):
    stage = replace(QUICK, teacher=(str(teacher),), teacher_views=1)
    one, *_ = run(stage, student, tmp_path / "one", objects=tmp_path / "kept")
    kept = sorted((tmp_path / "kept").iterdir())
    assert len(kept) == 1
    before = kept[0].stat().st_ino
    again, *_ = run(stage, student, tmp_path / "again", objects=tmp_path / "kept")
    hotter = replace(stage, temperature=2.0, learning_rate=1e-3)
    other, *_ = run(hotter, student, tmp_path / "other", objects=tmp_path / "kept")
    assert one.read_bytes() == again.read_bytes() != other.read_bytes()
    assert [path.stat().st_ino for path in (tmp_path / "kept").iterdir()] == [before]


def test_hints_and_relations_train_a_student(student, teacher, tmp_path):
    stage = replace(
        QUICK, epochs=1, teacher=(str(teacher),), hint=("auto",), distillation="dist",
        alpha_end=0.2, temperature_end=1.0, teacher_ramp="cosine",
    )  # fmt: skip
    out, _, metrics = run(stage, student, tmp_path)
    module, _ = artifact.load_module(out)
    assert metrics["epochs"] == 1
    assert not any("regressor" in name for name in module.state_dict())


def test_a_cut_network_recovers_by_a_teacher_of_its_own(student, teacher, tmp_path):
    cut = PruneStage(ratio=0.6, recovery_epochs=1, batch_size=32, channel_multiple=1)
    by_itself, ctx, _ = run(cut, student, tmp_path / "self")
    by_another, *_ = run(
        replace(cut, teacher=(str(teacher),), teacher_views=1), student, tmp_path / "other",
        objects=tmp_path / "kept",
    )  # fmt: skip
    assert by_itself.read_bytes() != by_another.read_bytes()
    assert [curves.training for curves in ctx.curves] == ["cut 1/1"]
    assert len(list((tmp_path / "kept").iterdir())) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"teacher": ("a.pt", "a.pt")}, "name each teacher once"),
        ({"teacher": ("ema",), "ema": 0.0}, "ema needs --ema"),
        ({"teacher": ("a.pt",), "teacher_weight": (1.0, 2.0)}, "as many positive numbers"),
        ({"teacher_views": 3}, "name a --teacher whose answers can be kept"),
        ({"teacher": ("ema",), "teacher_views": 3}, "ema has others after each step"),
        ({"teacher": ("a.pt",), "teacher_views": 3, "hint": ("auto",)}, "inner layers are not"),
        ({"hint": ("auto",)}, "layers learn from those of one teacher"),
        ({"alpha_end": 1.5}, "from 0 to 1"),
        ({"temperature_end": 0.0}, "give a positive number"),
        ({"hint_weight": 0.0}, "give a positive number"),
        ({"teacher": ("ema",), "temperature": 1e30}, "give a positive number up to 1000"),
        ({"distillation": "dist"}, "name a --teacher, or leave it out"),
        ({"alpha_end": 0.5}, "name a --teacher, or leave it out"),
        ({"temperature_end": 2.0}, "name a --teacher, or leave it out"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, said):
    with pytest.raises(ConfigError) as caught:
        DistillStage(**options)
    assert said in caught.value.hint


def test_a_refused_list_is_shown_as_it_was_written():
    with pytest.raises(ConfigError) as caught:
        DistillStage(teacher=("a.pt",), teacher_weight=(1.0, 2.0))
    assert caught.value.message == "distill: teacher-weight = 1.0, 2.0"


def test_a_recipe_names_one_teacher_or_several():
    one = recipe.parse({"distill": {"teacher": "resnet20"}}, "r.toml")
    several = recipe.parse({"prune": {"teacher": ["self", "mine:net?width=8"]}}, "r.toml")
    assert one.options["distill"]["teacher"] == ("resnet20",)
    assert several.options["prune"]["teacher"] == ("self", "mine:net?width=8")
    # What the user names himself may be called.
    assert "mine:net" in allowed("resnet8", several)
    with pytest.raises(ConfigError, match=r"teacher\[0\] must be a string"):
        recipe.parse({"distill": {"teacher": 3}}, "r.toml")
