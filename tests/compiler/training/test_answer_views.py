"""A teacher is asked once for each view, whoever learns, and however often a run is killed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from edgekiln.compiler.training.answer_views import AnswerViews, identity
from edgekiln.compiler.training.augment import Augment
from edgekiln.compiler.training.classroom import Teaching
from edgekiln.compiler.training.fit import fit
from edgekiln.compiler.training.imitation import Imitation, Ramp
from edgekiln.compiler.training.loss import Objective
from edgekiln.compiler.training.options import FitOptions
from edgekiln.runtime.errors import InputError, StorageError
from tests.compiler.training.conftest import tiny

TAUGHT = Objective(imitation=Imitation(alpha=Ramp(start=1.0)))
OPTIONS = FitOptions(epochs=4, batch_size=32, learning_rate=0.01, ema=0.9, augment=Augment(shift=1))


class KilledError(Exception):
    pass


class Counted(nn.Module):
    """A teacher that counts how often it is asked."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.network, self.scale = tiny(seed=7), scale
        self.asked = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        return self.scale * self.network(x)


@pytest.fixture
def teacher() -> Counted:
    return Counted()


def learn(teacher, data, home, *, views=2, options=OPTIONS, advance=None, seed=1):
    """Train a student by kept answers; returns it. Checkpoints are below `home`, files beside."""
    student = tiny(seed=seed)
    kept = AnswerViews(
        root=home.parent / "kept",
        count=views,
        teachers=(identity(teacher, "counted"),),
    )
    fit(
        student,
        data,
        TAUGHT,
        options,
        checkpoint_path=home / "c.ckpt",
        teaching=Teaching(networks=(teacher,), views=kept),
        **({"advance": advance} if advance else {}),
    )
    return student


def files(home: Path) -> list[Path]:
    return sorted((home / "kept").iterdir())


def assert_same_bits(one: nn.Module, other: nn.Module) -> None:
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_a_teacher_is_asked_once_a_view_and_never_by_the_next_student(teacher, data, tmp_path):
    first = learn(teacher, data, tmp_path / "first")
    batches = len(data.train) // OPTIONS.batch_size
    # Besides, it is tried for the order of its images: on a copy.
    assert teacher.asked == 2 * batches
    assert len(files(tmp_path)) == 2
    second = learn(teacher, data, tmp_path / "second")
    assert teacher.asked == 2 * batches
    # Whether answers are fresh or kept makes no difference.
    assert_same_bits(first, second)


def test_a_run_killed_in_a_view_goes_on_to_the_same_bits(teacher, data, tmp_path):
    straight = learn(teacher, data, tmp_path / "one" / "straight")

    def die(done: int, _total: int, _text: str) -> None:
        if done == 9:  # in the second view
            raise KilledError

    with pytest.raises(KilledError):
        learn(teacher, data, tmp_path / "two" / "killed", advance=die)
    assert len(files(tmp_path / "two")) == 1  # and nothing half-written
    resumed = learn(teacher, data, tmp_path / "two" / "killed", seed=5)
    assert_same_bits(straight, resumed)
    kept = [[path.name for path in files(tmp_path / name)] for name in ("one", "two")]
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 3},
        {"augment": Augment(shift=2)},
        {"augment": Augment(shift=1, flip=True)},
        {"batch_size": 16},
    ],
)
def test_what_shows_other_samples_asks_anew(teacher, data, tmp_path, changed):
    short = replace(OPTIONS, epochs=1)
    learn(teacher, data, tmp_path / "a", views=1, options=short)
    learn(teacher, data, tmp_path / "b", views=1, options=replace(short, **changed))
    assert len(files(tmp_path)) == 2


def test_another_teacher_has_answers_of_its_own():
    one, other = tiny(seed=7), tiny(seed=8)
    names = {identity(one, ""), identity(one, "softly"), identity(other, "")}
    assert len(names) == 3
    assert identity(one, "") == identity(tiny(seed=7), "")


def test_a_damaged_file_is_asked_for_again(teacher, data, tmp_path):
    short = replace(OPTIONS, epochs=1)
    first = learn(teacher, data, tmp_path / "a", views=1, options=short)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] + bytes(100))
    second = learn(teacher, data, tmp_path / "b", views=1, options=short)
    assert path.read_bytes() == whole
    assert_same_bits(first, second)


def test_answers_in_the_place_of_others_are_asked_for_again(teacher, data, tmp_path):
    learn(teacher, data, tmp_path / "a")
    whole = {path: path.read_bytes() for path in files(tmp_path)}
    one, other = whole
    one.write_bytes(whole[other])
    other.write_bytes(whole[one])
    learn(teacher, data, tmp_path / "b")
    assert {path: path.read_bytes() for path in files(tmp_path)} == whole


def test_answers_are_kept_in_half_precision(teacher, data, tmp_path):
    learn(teacher, data, tmp_path / "a", views=1, options=replace(OPTIONS, epochs=1))
    (path,) = files(tmp_path)
    header = 512
    assert path.stat().st_size < len(data.train) * 4 * 2 + header  # four classes, two bytes each


def test_an_answer_that_half_precision_does_not_hold_is_refused(data, tmp_path):
    with pytest.raises(
        InputError, match=r"numbers up to .*, which float16 does not hold"
    ) as caught:
        learn(Counted(scale=1e6), data, tmp_path / "a")
    assert "--teacher-views 0" in caught.value.hint
    assert files(tmp_path) == []


def test_views_that_will_not_fit_the_disk_are_refused_at_once(teacher, data, tmp_path):
    with pytest.raises(StorageError, match=r"teacher-views: .* views take .* are free"):
        learn(teacher, data, tmp_path / "a", views=10**13)
    assert teacher.asked == 1
    assert files(tmp_path) == []
