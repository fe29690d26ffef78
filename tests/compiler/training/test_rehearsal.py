"""What a module is taught later: in its own form, among samples that it knows."""

from dataclasses import replace

import numpy as np
import pytest

from edgekiln.compiler.training.rehearsal import rehearsed, with_classes_of
from edgekiln.models.data.dataset import Dataset, Split
from edgekiln.runtime.errors import InputError
from tests.compiler.training.conftest import small_data, stripes

ADDED_TRAIN, ADDED_VAL = 40, 12


def added_data(classes: tuple[str, ...] = ("top", "bottom", "left", "right")) -> Dataset:
    return replace(
        small_data(),
        name="more",
        classes=classes,
        train=stripes(ADDED_TRAIN, 7),
        val=stripes(ADDED_VAL, 8),
    )


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_old_samples_is_seen_again(data, share):
    both = rehearsed(data, added_data(), share=share, seed=0)
    assert len(both.train) == ADDED_TRAIN + share * len(data.train)
    assert len(both.val) == len(data.val) + ADDED_VAL, "all of them judge"
    known = {image.tobytes() for image in data.train.x}
    again = [image.tobytes() for image in both.train.x if image.tobytes() in known]
    assert len(again) == len(set(again)) == share * len(data.train), "none comes twice"


def test_which_are_seen_again_is_drawn_by_the_seed(data):
    one, same, other = (
        rehearsed(data, added_data(), share=0.25, seed=seed).train.x.tobytes() for seed in (0, 0, 1)
    )
    assert one == same
    assert one != other


def test_classes_are_the_same_by_name_in_whatever_order(data):
    given = added_data(classes=("right", "left", "bottom", "top"))
    found = with_classes_of(data, given)
    assert found.classes == data.classes
    names = [given.classes[label] for label in given.train.y]
    assert [found.classes[label] for label in found.train.y] == names


def test_what_the_module_cannot_tell_apart_is_refused_by_name(data):
    with pytest.raises(InputError, match="class 'middle' is new to the module") as caught:
        with_classes_of(data, added_data(classes=("top", "middle", "left", "right")))
    assert "--init" in str(caught.value.hint)


@pytest.mark.parametrize(
    "shape", [(10, 9, 8, 1), (10, 8, 8, 3)], ids=["another size", "another color"]
)
def test_samples_of_another_form_are_refused_with_both_forms(data, shape):
    other = Split.of(x=np.zeros(shape, np.uint8), y=np.zeros(10, np.int64))
    with pytest.raises(InputError) as caught:
        with_classes_of(data, replace(added_data(), train=other))
    assert str(shape[1:]) in caught.value.message
    assert "(8, 8, 1)" in caught.value.message


def test_another_task_is_refused(data):
    other = replace(added_data(), task="regression", classes=())
    with pytest.raises(InputError, match="is for regression"):
        with_classes_of(data, other)
