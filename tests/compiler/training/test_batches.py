from dataclasses import replace

import numpy as np
import pytest
import torch

from edgekiln.compiler.training.augment import Augment
from edgekiln.compiler.training.batches import Batches
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


def moved(augment: Augment, images: torch.Tensor, **turn: torch.Tensor) -> torch.Tensor:
    motion = augment.motion(images, torch.Generator().manual_seed(0), **turn)
    return images if motion is None else motion.apply(images)


def test_shifts_move_images_and_fill_with_zeros():
    images = torch.full((64, 6, 6, 1), 9, dtype=torch.uint8)
    shifted = moved(Augment(shift=2), images)
    assert shifted.shape == images.shape
    zeros = (shifted == 0).flatten(1).sum(1)
    assert zeros.min() == 0  # some did not move
    assert zeros.max() == 36 - 4 * 4  # some moved two pixels each way


def test_what_moves_in_is_the_image_itself_where_the_border_reflects():
    row = torch.tensor([1, 2, 3, 4], dtype=torch.uint8)
    images = row.reshape(1, 1, 4, 1).expand(64, 4, 4, 1)
    shifted = moved(Augment(shift=1, border="reflect"), images)
    rows = {tuple(line) for line in shifted[..., 0].flatten(0, 1).tolist()}
    assert rows == {(1, 2, 3, 4), (2, 1, 2, 3), (2, 3, 4, 3)}
    assert torch.equal(shifted[:, 0], shifted[:, 3]), "up and down all rows are alike"


def test_a_shift_wider_than_the_image_stays_inside():
    images = torch.arange(9, dtype=torch.uint8).reshape(1, 3, 3, 1).expand(50, 3, 3, 1)
    shifted = moved(Augment(shift=7, border="reflect"), images)
    assert shifted.shape == images.shape
    assert set(shifted.unique().tolist()) <= set(range(9))


def test_every_other_image_is_flipped():
    images = torch.tensor([[1, 2]], dtype=torch.uint8).reshape(1, 1, 2, 1).repeat(200, 1, 1, 1)
    flipped = (moved(Augment(flip=True), images)[:, 0, 0, 0] == 2).sum()
    assert 70 < flipped < 130


def test_shifted_and_flipped_is_first_the_one_and_then_the_other():
    images = torch.randint(0, 256, (40, 5, 6, 3), dtype=torch.uint8)
    motion = Augment(shift=2, flip=True).motion(images, torch.Generator().manual_seed(3))
    assert motion is not None
    first = replace(motion, mirrored=None).apply(images)
    then = replace(motion, down=None, right=None).apply(first)
    assert torch.equal(motion.apply(images), then)


def test_alternating_shows_each_image_both_ways_in_two_epochs():
    images = np.tile(np.array([0, 9], np.uint8).reshape(1, 1, 2, 1), (100, 1, 1, 1))
    images[:, 0, 0, 0] = np.arange(100)  # the number of an image, where it is not flipped
    split = Split.of(x=images, y=np.arange(100, dtype=np.int64))
    batches = Batches(
        split=split, preprocessing=PLAIN, batch_size=10, augment=Augment(alternate=True)
    )

    def flipped(epoch: int) -> dict[int, bool]:
        return {
            int(label): bool(image[0, 0, 1] == label and image[0, 0, 0] == 9)
            for batch in batches.training(epoch)
            for image, label in zip(batch.x, batch.y, strict=True)
            if label != 9
        }

    first, second, third = (flipped(epoch) for epoch in range(3))
    assert 25 < sum(first.values()) < 75, "each image begins as it happens"
    assert all(first[label] != second[label] for label in first)
    assert first == third


def test_vectors_and_plain_settings_are_left_alone():
    vectors, images = torch.randn(3, 5), torch.zeros(3, 4, 4, 1, dtype=torch.uint8)
    assert moved(Augment(shift=2, flip=True), vectors) is vectors
    assert moved(Augment(), images) is images


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("last", [False, True])
def test_colors_are_preprocessed_to_the_same_bits_in_any_order(layout, last):
    pixels = np.arange(256 * 3, dtype=np.uint16).astype(np.uint8).reshape(4, 8, 8, 3)
    split = Split.of(x=pixels, y=np.zeros(4, np.int64))
    how = Preprocessing(mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616), layout=layout)
    batches = Batches(split=split, preprocessing=how, batch_size=4, channels_last=last)
    assert np.array_equal(next(batches.in_order()).x.numpy(), preprocess(pixels, how))
    assert np.array_equal(
        np.sort(next(batches.training(0)).x.numpy(), axis=0),
        np.sort(preprocess(pixels, how), axis=0),
    )


def test_smaller_images_are_trained_on_where_it_is_asked_for():
    split = Split.of(x=np.full((8, 12, 12, 1), 7, np.uint8), y=np.zeros(8, np.int64))
    batches = Batches(split=split, preprocessing=PLAIN, batch_size=8, resolution=6)
    batch = next(batches.training(0))
    assert batch.x.shape == (8, 1, 6, 6)
    assert (batch.x == 7).all()
    assert next(batches.in_order()).x.shape == (8, 1, 12, 12), "what measures sees them whole"
