"""What draws a network to its teachers: formulas against independent computations."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edgekiln.compiler.training.batch import Batch
from edgekiln.compiler.training.imitation import (
    Imitation,
    Ramp,
    check_imitation,
    relational_distance,
    standardized_divergence,
)
from edgekiln.compiler.training.loss import Objective
from edgekiln.models.tasks.heads import heads_of
from edgekiln.runtime.errors import ConfigError

OURS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0], [-1.0, 0.3, 0.9], [0.1, -0.2, 2.0]])
THEIRS = torch.tensor([[1.0, 1.0, 0.0], [0.0, 3.0, -2.0], [-2.0, 0.0, 1.0], [0.4, 0.0, 1.0]])


def test_a_ramp_goes_from_its_start_to_its_end():
    assert [Ramp(start=4.0).at(p) for p in (0, 0.5, 1)] == [4.0, 4.0, 4.0]
    assert [Ramp(start=4.0, end=1.0).at(p) for p in (0, 0.5, 1)] == [4.0, 2.5, 1.0]
    cosine = Ramp(start=0.0, end=1.0, form="cosine")
    assert [cosine.at(p) for p in (0, 0.5, 1)] == pytest.approx([0.0, 0.5, 1.0])
    assert cosine.at(0.25) < 0.25  # slow at both ends


def softmax(rows):
    raised = np.exp(rows - rows.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def test_standardized_logits_are_compared_by_the_paper():
    T = 2.0
    z = [
        (x - x.mean(1, keepdims=True)) / x.std(1, ddof=1, keepdims=True)
        for x in (OURS.double().numpy(), THEIRS.double().numpy())
    ]
    student, teacher = (softmax(each / T) for each in z)
    expected = T**2 * (teacher * np.log(teacher / student)).sum() / len(OURS)
    assert standardized_divergence(OURS, THEIRS, T).item() == pytest.approx(expected, rel=1e-4)


def test_a_student_of_smaller_logits_in_the_same_proportion_has_nothing_left_to_learn():
    assert standardized_divergence(0.2 * THEIRS + 3, THEIRS, 2.0).item() == pytest.approx(
        0, abs=1e-5
    )
    assert standardized_divergence(OURS, THEIRS, 2.0).item() > 0.01


def test_relations_are_pearsons_correlations_of_rows_and_columns():
    T = 4.0
    ours, theirs = (softmax(x.double().numpy() / T) for x in (OURS, THEIRS))
    rows = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(ours, theirs, strict=True)])
    columns = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(ours.T, theirs.T, strict=True)])
    expected = T**2 * (rows + columns)
    assert relational_distance(OURS, THEIRS, T).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("by", ["logits", "standardized", "dist"])
@pytest.mark.parametrize("task", ["classification", "segmentation", "language-modelling"])
def test_a_student_like_its_teacher_costs_nothing(task, by):
    torch.manual_seed(0)
    shape = {
        "classification": (6, 5),
        "segmentation": (2, 5, 3, 4),
        "language-modelling": (2, 4, 5),
    }
    output = torch.randn(shape[task])
    imitation, judge = Imitation(by=by), heads_of(task)[0].task
    same = imitation.loss(judge, [output], [[output.clone()]], 4.0)
    other = imitation.loss(judge, [output], [[torch.randn(shape[task])]], 4.0)
    assert same.item() == pytest.approx(0, abs=1e-3)
    assert other.item() > 0.05


def test_several_teachers_pull_as_the_mean_of_their_probabilities_does():
    T, shares = 3.0, (0.25, 0.75)
    teachers = [THEIRS, THEIRS.flip(0)]
    task = heads_of("classification")[0].task
    student = OURS.clone().requires_grad_()
    Imitation(shares=shares).loss(task, [student], [[t] for t in teachers], T).backward()
    mean = sum(share * F.softmax(t / T, dim=1) for share, t in zip(shares, teachers, strict=True))
    alone = OURS.clone().requires_grad_()
    (T**2 * F.kl_div(F.log_softmax(alone / T, dim=1), mean, reduction="batchmean")).backward()
    assert torch.allclose(student.grad, alone.grad, atol=1e-6)


def test_heads_without_classes_keep_their_own_distance():
    task = "kind=classification,size=regression"
    numbers = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    batch = Batch(
        inputs={"": torch.zeros(4, 1)},
        targets={"kind": torch.tensor([0, 1, 2, 2]), "size": numbers},
    )
    outputs = {"kind": THEIRS, "size": numbers}
    taught = {"kind": THEIRS, "size": numbers + 2}
    imitation = Imitation(by="dist", alpha=Ramp(start=1.0))
    loss = Objective(task=task, imitation=imitation)(outputs, batch, (taught,))
    assert loss.item() == pytest.approx(4.0, abs=1e-3)  # the squared error of the sizes alone


def test_what_learns_relations_of_classes_needs_classes():
    with pytest.raises(ConfigError, match="distillation = dist: the task tells no classes apart"):
        check_imitation(Imitation(by="dist"), heads_of("regression"))
    check_imitation(Imitation(by="logits"), heads_of("regression"))


def test_alpha_and_temperature_follow_the_progress_of_the_training():
    batch = Batch(inputs={"": torch.zeros(4, 1)}, targets={"": torch.tensor([0, 1, 2, 2])})
    imitation = Imitation(alpha=Ramp(start=1.0, end=0.0), temperature=Ramp(start=4.0, end=2.0))
    objective = Objective(imitation=imitation)
    start, end = (
        objective({"output": OURS}, batch, ({"output": THEIRS},), progress) for progress in (0, 1)
    )
    softened = heads_of("classification")[0].task.teacher_loss([OURS], [THEIRS], 4.0)
    assert start.item() == pytest.approx(softened.item())
    assert end.item() == pytest.approx(F.cross_entropy(OURS, batch.y).item())
