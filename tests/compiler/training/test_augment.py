"""What is done to training samples: each change where it belongs, by its seed alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edgekiln.compiler.training.augment import Augment, check_augment
from edgekiln.compiler.training.batch import Batch, Blend
from edgekiln.compiler.training.batches import Batches
from edgekiln.compiler.training.cutout import cut_out
from edgekiln.compiler.training.loss import Objective
from edgekiln.compiler.training.mixing import cut_mixed, drawn_blend, mixed_up
from edgekiln.compiler.training.policy import COLORS, geometry, randomly_changed
from edgekiln.models.data.dataset import Split
from edgekiln.models.tasks.heads import heads_of
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.manifest import Preprocessing

CENTERED = Preprocessing(scale=1 / 255, mean=(0.5, 0.25, 0.75), std=(0.2, 0.2, 0.2))


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(count: int = 16, side: int = 12, channels: int = 3) -> torch.Tensor:
    """Smooth pictures, which no operation turns into noise."""
    coarse = torch.rand(count, channels, 3, 3, generator=draw(1)) * 255
    fine = F.interpolate(coarse, (side, side), mode="bicubic", align_corners=False)
    return fine.clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8).contiguous()


def batches(augment: Augment, split: Split | None = None) -> Batches:
    images = photos().numpy()
    given = split or Split.of(x=images, y=np.arange(len(images), dtype=np.int64))
    preprocessing = CENTERED if given.x.dtype == np.uint8 else None
    heads = heads_of("classification")
    return Batches(
        split=given, preprocessing=preprocessing, batch_size=8, heads=heads, augment=augment
    )


def test_a_square_is_cut_out_of_each_image_at_its_own_place():
    white = torch.full((200, 10, 10, 3), 255, dtype=torch.uint8)
    cut = cut_out(white, 4, torch.tensor([1, 2, 3], dtype=torch.uint8), draw())
    gone = (cut[..., 0] == 1).flatten(1).sum(1)
    assert gone.max() == 16
    assert gone.min() < 16, "a square may lie partly outside"
    assert gone.min() >= 4
    assert torch.equal(cut[cut[..., 0] == 1].unique(dim=0), torch.tensor([[1, 2, 3]]).byte())
    assert len((cut[..., 0] == 1).flatten(1).unique(dim=0)) > 50


def test_what_is_cut_out_is_nothing_to_the_network():
    batch = next(batches(Augment(cutout=24)).training(0))  # larger than an image
    assert batch.x.abs().max() < 0.01, "the mean of the data, up to a whole pixel"


def test_mixup_is_the_weighted_mean_of_two_samples():
    x = torch.randn(6, 5)
    blend = Blend(partner=torch.tensor([1, 0, 3, 2, 5, 4]), share=0.75)
    expected = 0.75 * x + 0.25 * x[blend.partner]
    torch.testing.assert_close(mixed_up(x, blend), expected)


def test_cutmix_says_what_is_left_of_an_image():
    images = torch.arange(8, dtype=torch.uint8).reshape(8, 1, 1, 1).expand(8, 10, 10, 1)
    for seed in range(20):
        mixed, blend = cut_mixed(images, drawn_blend(8, 1.0, draw(seed)), draw(seed))
        own = (mixed == images).flatten(1).float().mean(1)
        partner = blend.partner != torch.arange(8)
        assert torch.allclose(own[partner], torch.tensor(blend.share)), seed


def test_shares_come_from_the_beta_distribution():
    shares = [drawn_blend(4, 0.2, draw(seed)).share for seed in range(400)]
    assert abs(np.mean(shares) - 0.5) < 0.06
    # Var = 1 / (4 (2a + 1)) of Beta(a, a).
    assert abs(np.var(shares) - 1 / (4 * 1.4)) < 0.03


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_a_blend_is_that_of_soft_targets(smoothing):
    logits, labels = torch.randn(6, 4, generator=draw()), torch.tensor([0, 1, 2, 3, 0, 1])
    blend = Blend(partner=torch.tensor([5, 4, 3, 2, 1, 0]), share=0.3)
    batch = Batch(inputs={"": logits}, targets={"": labels}, blend=blend)
    loss = Objective(label_smoothing=smoothing)({"": logits}, batch)
    hot = F.one_hot(labels, 4).float()
    soft = 0.3 * hot + 0.7 * hot[blend.partner]
    torch.testing.assert_close(loss, F.cross_entropy(logits, soft, label_smoothing=smoothing))


def test_with_mixup_and_cutmix_both_are_seen():
    found = [
        batch.blend.share if batch.blend else 1.0
        for epoch in range(10)
        for batch in batches(Augment(mixup=0.5, cutmix=1.0)).training(epoch)
    ]
    # Areas are whole pixels of an image of 144; shares of mixup are any numbers.
    areas = [abs(share * 144 - round(share * 144)) < 1e-9 for share in found]
    assert any(areas)
    assert not all(areas)


def test_numbers_that_are_no_image_can_be_blended():
    split = Split.of(
        x=np.random.default_rng(0).normal(size=(16, 5)).astype(np.float32),
        y=np.arange(16, dtype=np.int64),
    )
    batch = next(batches(Augment(mixup=1.0, shift=2), split).training(0))
    assert batch.blend is not None
    own, other = (torch.from_numpy(split.x)[y] for y in (batch.y, batch.y[batch.blend.partner]))
    share = batch.blend.share
    torch.testing.assert_close(batch.x, share * own + (1 - share) * other)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("number", range(len(COLORS) + len(geometry("zeros"))))
def test_an_operation_of_no_strength_changes_nothing_and_a_strong_one_does(number, channels):
    shapes = {str(place): operation for place, operation in enumerate(geometry("reflect"))}
    name, operation = [*COLORS.items(), *shapes.items()][number]
    images = photos(channels=channels).float()
    # Grey has no saturation to lose, and what is stretched to the whole range has no strength.
    if name != "autocontrast":
        still = operation(images, torch.zeros(16, 1, 1, 1))
        torch.testing.assert_close(still, images, atol=0.02, rtol=0)
    moved = operation(images, torch.full((16, 1, 1, 1), -0.9))
    assert moved.shape == images.shape
    changed = (moved - images).abs().mean() > 1
    assert changed == ((name, channels) != ("saturation", 1))


def test_stronger_policies_change_images_more():
    images = photos(64)

    def distance(strength: float) -> float:
        changed = randomly_changed(images, count=1, strength=strength, border="zeros", draw=draw(4))
        assert changed.dtype == torch.uint8
        return float((changed.float() - images.float()).abs().mean())

    assert distance(0.1) < distance(0.5) < distance(1.0)


def test_the_same_seed_changes_a_batch_alike_and_another_epoch_otherwise():
    augment = Augment(
        shift=2, border="reflect", flip=True, operations=2, cutout=4, mixup=0.2, cutmix=1.0
    )
    one, again, later = (list(batches(augment).training(epoch)) for epoch in (0, 0, 1))
    assert [batch.x.tolist() for batch in one] == [batch.x.tolist() for batch in again]
    assert one[0].x.tolist() != later[0].x.tolist()


def test_what_is_measured_is_never_changed():
    plain = next(batches(Augment()).in_order())
    augment = Augment(shift=2, flip=True, operations=2, cutout=4, mixup=0.2)
    assert torch.equal(next(batches(augment).in_order()).x, plain.x)


@pytest.mark.parametrize(
    ("augment", "option"),
    [
        (Augment(cutout=4), "cutout"),
        (Augment(operations=1), "augment-ops"),
        (Augment(cutmix=1.0), "cutmix"),
    ],
)
def test_what_is_for_images_is_refused_for_other_samples(augment, option):
    vectors = Split.of(x=np.zeros((4, 5), np.float32), y=np.zeros(4, np.int64))
    with pytest.raises(ConfigError, match=f"{option}: the samples are no images"):
        check_augment(augment, vectors, heads_of("classification"), own=False)


def test_what_targets_would_have_to_follow_is_refused():
    images = Split.of(x=np.zeros((4, 8, 8, 3), np.uint8), y=np.zeros((4, 8, 8), np.int64))
    for augment in (Augment(cutout=4), Augment(operations=1), Augment(mixup=0.2)):
        with pytest.raises(ConfigError, match="would have to follow"):
            check_augment(augment, images, heads_of("segmentation"), own=False)


def test_a_loss_of_the_users_own_knows_no_blends():
    images = Split.of(x=np.zeros((4, 8, 8, 3), np.uint8), y=np.zeros(4, np.int64))
    heads = heads_of("classification")
    with pytest.raises(ConfigError, match="mixup: a training-step of your own"):
        check_augment(Augment(mixup=0.2), images, heads, own=True)
    two = replace(images, inputs={"a": images.x, "b": images.x})
    with pytest.raises(ConfigError, match="cutmix: a model of several inputs"):
        check_augment(Augment(cutmix=0.2), two, heads, own=False)


@pytest.mark.parametrize(("option", "pixels"), [("shift", 12), ("cutout", 12)])
def test_a_change_that_may_leave_nothing_of_an_image_is_refused(option, pixels):
    images = Split.of(x=photos(side=12).numpy(), y=np.zeros(16, np.int64))
    with pytest.raises(ConfigError) as caught:
        check_augment(Augment(**{option: pixels}), images, heads_of("classification"), own=False)
    assert caught.value.message == f"{option} = {pixels}: the images are 12 by 12 pixels"
    check_augment(Augment(**{option: pixels - 1}), images, heads_of("classification"), own=False)
