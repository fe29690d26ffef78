"""What training minimises: right outputs cost least, and a gradient leads there."""

import numpy as np
import pytest
import torch

from edgekiln.models.tasks.boxes import corners
from edgekiln.models.tasks.heads import TASKS, heads_of
from edgekiln.models.tasks.motion import Motion
from edgekiln.models.tasks.task import OutputFacts

ONE = torch.tensor([[0.0, 0.5, 0.5, 0.4, 0.2], [1.0, 0.2, 0.2, 0.1, 0.1]])

# A target, and the shape of the output.
CASES = {
    "classification": (torch.tensor([0, 1, 2, 1]), (4, 3)),
    "detection": (torch.stack([ONE, ONE.flip(0)]), (2, 5, 6)),
    "embedding": (torch.tensor([0, 0, 1, 1]), (4, 5)),
    "language-modelling": (torch.tensor([[0, 1, -100], [2, 2, 1]]), (2, 3, 4)),
    "multi-label": (torch.tensor([[0, 1, 1], [1, 0, 0]]), (2, 3)),
    "recommendation": (torch.tensor([0, 1, 1, 0]), (4, 1)),
    "reconstruction": (torch.zeros(4, dtype=torch.long), (4, 6)),
    "regression": (torch.tensor([[1.0], [-2.0]]), (2, 1)),
    "segmentation": (torch.randint(0, 3, (2, 4, 5), dtype=torch.uint8), (2, 3, 4, 5)),
    "sequence-labelling": (torch.tensor([[0, 1, -100], [2, 2, 1]]), (2, 3, 3)),
}


@pytest.mark.parametrize("name", TASKS)
def test_following_the_gradient_makes_the_measure_perfect(name):
    torch.manual_seed(0)
    task = heads_of(name)[0].task
    target, shape = CASES[name]
    x = torch.randn(4, 6)
    output = torch.randn(shape).requires_grad_()
    optimizer = torch.optim.Adam([output], lr=0.05)
    losses = []
    for step in range(400):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 400)
        loss = task.loss([output], target, {"x": x})
        assert loss.shape == ()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    truth = np.array([0, 0, 1, 1]) if name == "reconstruction" else target.numpy()
    answers = task.answer([output.detach().numpy()], {"x": x.numpy()}, truth)
    if name != "reconstruction":  # whose measure is of what it was not trained on
        value, perfect = task.measure(answers, truth)[0], 1.0
        if task.metrics[0].better == "lower":
            perfect = 1.0 if name == "language-modelling" else 0.0
        assert value == pytest.approx(perfect, abs=0.05)


@pytest.mark.parametrize("name", TASKS)
def test_a_student_that_answers_as_its_teacher_costs_nothing_more(name):
    torch.manual_seed(0)
    task = heads_of(name)[0].task
    taught = torch.rand(CASES[name][1])
    same = float(task.teacher_loss([taught.clone()], [taught], 2.0))
    other = float(task.teacher_loss([taught + torch.randn_like(taught)], [taught], 2.0))
    assert same == pytest.approx(0, abs=1e-6)
    assert other > 0.01


def test_boxes_move_with_their_picture():
    pixels = torch.zeros(1, 20, 30, 1)
    pixels[0, 4:8, 6:12] = 1
    box = torch.tensor([[[0.0, 9 / 30, 6 / 20, 6 / 30, 4 / 20], [-1.0, 0, 0, 0, 0]]])
    motion = Motion(
        down=torch.tensor([2]),
        right=torch.tensor([-3]),
        mirrored=torch.tensor([True]),
        height=20,
        width=30,
    )
    moved = motion.apply(pixels)[0, ..., 0]
    told = heads_of("detection")[0].task.moved(box, motion)
    assert told is not None
    ys, xs = torch.nonzero(moved, as_tuple=True)
    edges = [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]
    found = corners(told[0, 0, 1:].numpy()) * [30, 20, 30, 20]
    assert found.round(4).tolist() == edges
    assert told[0, 1, 0] == -1


def test_masks_move_with_their_picture_and_what_comes_in_is_unknown():
    mask = torch.arange(12, dtype=torch.uint8).reshape(1, 3, 4)
    motion = Motion(
        down=torch.tensor([1]), right=torch.tensor([0]), mirrored=None, height=3, width=4
    )
    moved = heads_of("segmentation")[0].task.moved(mask, motion)
    assert moved is not None
    assert moved[0].tolist() == [[255] * 4, [0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_task_says_which_outputs_it_takes():
    facts = OutputFacts(classes=3, input_shape=(8,), target_shape=(1,))
    taken = {"classification": (3,), "reconstruction": (8,), "regression": (), "embedding": (99,)}
    for name, shape in taken.items():
        assert heads_of(name)[0].task.accepts(shape, facts), name
    assert not heads_of("classification")[0].task.accepts((4,), facts)
    assert not heads_of("regression")[0].task.accepts((2,), facts)
    assert not heads_of("detection")[0].task.accepts((10, 6), facts)
