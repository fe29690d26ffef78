import numpy as np
import pytest
import torch

from edgekiln.compiler.training.batches import Augment, Batches
from edgekiln.models.data.dataset import Split
from edgekiln.runtime.inputs import preprocess
from edgekiln.runtime.manifest import Preprocessing

PLAIN = Preprocessing(scale=1.0, color="L")
COUNTED = Split.of(
    x=np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1), y=np.arange(100, dtype=np.int64)
)


def labels(batches: Batches, epoch: int) -> list[int]:
    return [int(label) for batch in batches.training(epoch) for label in batch.y]


def test_each_epoch_sees_every_sample_once_in_its_own_order():
    batches = Batches(split=COUNTED, preprocessing=PLAIN, batch_size=10)
    first, second = labels(batches, 0), labels(batches, 1)
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    assert labels(batches, 0) == first


def test_another_seed_is_another_order():
    one = Batches(split=COUNTED, preprocessing=PLAIN, batch_size=10, seed=1)
    two = Batches(split=COUNTED, preprocessing=PLAIN, batch_size=10, seed=2)
    assert labels(one, 0) != labels(two, 0)


def test_samples_and_labels_stay_together():
    batches = Batches(split=COUNTED, preprocessing=PLAIN, batch_size=7)
    taken = list(batches.training(3))
    assert taken
    assert all(torch.equal(batch.x.flatten().long(), batch.y) for batch in taken)


def test_a_last_smaller_batch_is_left_out():
    batches = Batches(split=COUNTED, preprocessing=PLAIN, batch_size=30)
    assert [len(batch) for batch in batches.training(0)] == [30, 30, 30]
    assert len(batches) == 3


def test_fewer_samples_than_a_batch_make_one_batch():
    batches = Batches(split=COUNTED, preprocessing=PLAIN, batch_size=500)
    assert [len(batch) for batch in batches.training(0)] == [100]


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_share_the_samples_and_take_as_many_steps(size):
    ranks = [
        Batches(split=COUNTED, preprocessing=PLAIN, batch_size=5, rank=rank, size=size)
        for rank in range(size)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    seen = [label for batches in ranks for label in labels(batches, 0)]
    assert len(set(seen)) >= 90  # but for the batches left out
    in_order = [int(label) for b in ranks for batch in b.in_order() for label in batch.y]
    assert sorted(in_order) == list(range(100))


def test_pixels_are_preprocessed_as_on_the_device():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3)).astype(np.uint8)
    split = Split.of(x=pixels, y=np.zeros(4, np.int64))
    how = Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    batch, *_ = Batches(split=split, preprocessing=how, batch_size=4).in_order()
    assert np.array_equal(batch.x.numpy(), preprocess(pixels, how))


def test_shifts_move_images_and_fill_with_zeros():
    images = torch.full((64, 6, 6, 1), 9, dtype=torch.uint8)
    shifted = Augment(shift=2)(images, seed=0)
    assert shifted.shape == images.shape
    zeros = (shifted == 0).flatten(1).sum(1)
    assert zeros.min() == 0  # some did not move
    assert zeros.max() == 36 - 4 * 4  # some moved two pixels each way


def test_every_other_image_is_flipped():
    images = torch.tensor([[1, 2]], dtype=torch.uint8).reshape(1, 1, 2, 1).repeat(200, 1, 1, 1)
    flipped = (Augment(flip=True)(images, seed=0)[:, 0, 0, 0] == 2).sum()
    assert 70 < flipped < 130


def test_vectors_and_plain_settings_are_left_alone():
    vectors, images = torch.randn(3, 5), torch.zeros(3, 4, 4, 1, dtype=torch.uint8)
    assert Augment(shift=2, flip=True)(vectors, seed=0) is vectors
    assert Augment()(images, seed=0) is images
