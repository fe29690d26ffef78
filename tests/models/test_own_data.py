"""A user's own data sets: what is taken, and how anything else is refused."""

import numpy as np
import pytest

from edgekiln.models import data
from edgekiln.models.data.options import task_in, with_task
from edgekiln.runtime.errors import ConfigError, InputError

SETS = """
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(60, 5)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)


class Vectors(Dataset):
    classes = ["low", "high"]

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return torch.from_numpy(X[index]), int(Y[index])


def vectors():
    return Vectors()


def loader():
    return DataLoader(Vectors(), batch_size=16)


def rows(count=60):
    for x, y in zip(X[:count], Y):
        yield x, float(y) * 2.5


def pairs():
    return [((x[:3], x[3:]), y) for x, y in zip(X, Y)]


def named():
    return [({"tokens": np.arange(4) + y, "mask": x > 0}, {"kind": y, "size": x[0]})
            for x, y in zip(X, Y)]


def parts():
    whole = Vectors()
    return {"train": [whole[i] for i in range(40)], "test": [whole[i] for i in range(40, 60)]}


def boxes():
    return [(np.zeros((8, 8, 3), np.uint8) + i, np.array([[i % 2, .5, .5, .2, .2]] * (1 + i % 3)))
            for i in range(20)]


def alone():
    return list(X)


def uneven():
    return [(x[: 3 + i % 2], 0) for i, x in enumerate(X)]


def holes():
    return [(np.where(np.arange(5) == 2, np.nan, x) if i == 7 else x, int(y))
            for i, (x, y) in enumerate(zip(X, Y))]


def words():
    return [(x, "cat") for x in X]


def planes():
    return [(np.zeros((3, 8, 8), np.uint8), 0) for _ in range(9)]


def several_targets():
    return [(x, [1.0, 2.0, 3.0]) for x in X]


def broken():
    raise KeyError("gone")


def nothing():
    return 3


def none_at_all():
    return []
"""


@pytest.fixture(autouse=True, scope="module")
def _beside(tmp_path_factory):
    home = tmp_path_factory.mktemp("own")
    (home / "own_sets.py").write_text(SETS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.syspath_prepend(home)
        yield


@pytest.mark.parametrize("name", ["vectors", "loader"])
def test_a_dataset_and_its_loader_give_the_same_samples(name):
    loaded = data.load(f"own_sets:{name}?task=classification")
    parts = (loaded.train, loaded.val, loaded.calib, loaded.test)
    assert sum(map(len, parts)) == 60
    assert loaded.classes == (("low", "high") if name == "vectors" else ("0", "1"))
    first = data.load("own_sets:vectors?task=classification").train
    np.testing.assert_array_equal(loaded.train.x, first.x)
    assert all((part.x[:, 0] > 0).tolist() == (part.y == 1).tolist() for part in parts)


def test_floats_are_the_models_own_numbers_unless_options_say_otherwise():
    plain = data.load("own_sets:vectors?task=classification")
    assert plain.preprocessing is None
    assert plain.ready(plain.train.inputs)[""] is plain.train.x
    scaled = data.load("own_sets:vectors?task=classification&mean=1&std=2")
    np.testing.assert_allclose(scaled.ready(scaled.val.inputs)[""], (scaled.val.x - 1) / 2)


def test_arguments_stand_beside_the_options():
    loaded = data.load("own_sets:rows?count=30&task=regression&test=5")
    assert (len(loaded.test), len(loaded.train)) == (5, 30 - 5 - 3 - 3)
    assert set(np.unique(loaded.train.y)) == {0.0, 2.5}
    assert loaded.train.y.shape == (19, 1)


def test_tuples_and_dicts_are_several_inputs_and_heads():
    numbered = data.load("own_sets:pairs?task=classification")
    assert {name: x.shape[1:] for name, x in numbered.train.inputs.items()} == {
        "0": (3,),
        "1": (2,),
    }
    named = data.load("own_sets:named?task=kind=classification,size=regression")
    assert {name: x.dtype.kind for name, x in named.train.inputs.items()} == {
        "tokens": "i",
        "mask": "b",
    }
    assert {name: y.shape[1:] for name, y in named.train.targets.items()} == {
        "kind": (),
        "size": (1,),
    }
    assert [head.name for head in named.heads] == ["kind", "size"]
    # Each sample's inputs and targets stay together through the splits.
    assert (named.test.inputs["tokens"][:, 0] == named.test.targets["kind"]).all()


def test_parts_of_ones_own_are_kept():
    loaded = data.load("own_sets:parts?task=classification")
    assert len(loaded.test) == 20
    assert len(loaded.train) + len(loaded.val) + len(loaded.calib) == 40


def test_pictures_may_have_any_number_of_boxes():
    loaded = data.load("own_sets:boxes?task=detection")
    assert loaded.train.y.shape[1:] == (3, 5)
    assert set(np.unique(loaded.train.y[..., 0])) == {-1.0, 0.0, 1.0}


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("alone?task=regression", "own_sets:alone: train: sample 0 is a ndarray", "give (inputs, "),
        (
            "uneven?task=classification",
            "own_sets:uneven: train: sample 1 has the shape (4,), sample 0 (3,)",
            "all samples need one shape",
        ),
        (
            "holes?task=classification",
            "own_sets:holes: train: sample 7 holds values that are not finite (1 of 60 samples do)",
            "leave these samples out",
        ),
        (
            "words?task=classification",
            "own_sets:words: train: sample 0: is <U3, not numbers",
            "give (inputs, target)",
        ),
        (
            "planes?task=classification",
            "own_sets:planes: train: images are uint8 of shape (3, 8, 8)",
            "put the channels last",
        ),
        (
            "several_targets?task=classification",
            "own_sets:several_targets: labels are float64 of shape (60, 3), expected integers of shape (N,)",  # noqa: E501
            "one class index a sample",
        ),
        (
            "vectors?task=segmentation",
            "own_sets:vectors: targets are int64 of shape (60,), expected class indices (N, H, W)",
            "or say another task",
        ),
        (
            "named?task=kind=classification,colour=regression",
            "own_sets:named: has targets of kind, size; the task's heads are kind, colour",
            "name the targets and the heads alike",
        ),
        ("broken?task=regression", "own_sets:broken: raised KeyError: 'gone'", "call it in Python"),
        (
            "nothing?task=regression",
            "own_sets:nothing: train: a int is no row of samples",
            "give (inputs, target)",
        ),
        (
            "none_at_all?task=regression",
            "own_sets:none_at_all: train: gives no samples",
            "give (inputs, target)",
        ),
    ],
)
def test_what_is_no_data_is_refused_with_the_next_step(spec, message, hint):
    with pytest.raises(InputError) as caught:
        data.load(f"own_sets:{spec}")
    assert caught.value.message == message
    assert caught.value.hint.startswith(hint)


def test_without_a_task_a_function_is_asked_what_its_targets_are_for():
    with pytest.raises(InputError) as caught:
        data.load("own_sets:vectors")
    assert caught.value.message == (
        "own_sets:vectors: its samples have no labels, which training and accuracy need"
    )
    assert caught.value.hint.startswith(
        "if it gives targets, too, say what for: --task classification"
    )
    assert data.is_unlabelled("own_sets:vectors")
    assert not data.is_unlabelled("own_sets:vectors?task=classification")


def test_no_such_task_is_told_before_anything_is_read():
    with pytest.raises(ConfigError, match="no task named 'clasification'"):
        data.load("own_sets:vectors?task=clasification")


def test_a_task_keeps_its_own_options_inside_those_of_the_data():
    spec = with_task("digits?size=8", "regression?metric=mae&unit=kWh")
    assert task_in(spec) == "regression?metric=mae&unit=kWh"
    assert with_task(spec, "classification") == "digits?size=8&task=classification"


def test_numbers_of_an_archive_are_told_where_the_task_says_so(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x=np.random.default_rng(0).normal(size=(50, 4)), y=np.linspace(0, 1, 50))
    with pytest.raises(InputError) as caught:
        data.load(str(path))
    assert caught.value.hint.endswith("of numbers: --task regression")
    loaded = data.load(f"{path}?task=regression")
    assert loaded.train.y.dtype == np.float32
    assert loaded.task == "regression"
