import math

import pytest
import torch

from edgekiln.compiler.training.batch import Batch
from edgekiln.compiler.training.imitation import Imitation, Ramp
from edgekiln.compiler.training.loss import Objective

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0]])
TEACHER = torch.tensor([[1.0, 1.0, 0.0], [0.0, 3.0, -2.0]])
LABELS = torch.tensor([0, 1])
X = torch.zeros(2, 1)


def loss_of(objective, output, teacher=None, x=X, y=LABELS):
    """The loss of a batch of one input, one output and one target."""
    batch = Batch(inputs={"": x}, targets={"": y})
    taught = () if teacher is None else ({"output": teacher},)
    return objective({"output": output}, batch, taught)


def taught_by(*, task="classification", alpha=0.7, temperature=4.0, **how):
    """An objective with constant weights."""
    imitation = Imitation(alpha=Ramp(start=alpha), temperature=Ramp(start=temperature), **how)
    return Objective(task=task, imitation=imitation)


def softmax(row: list[float], temperature: float) -> list[float]:
    raised = [math.exp(value / temperature) for value in row]
    return [value / sum(raised) for value in raised]


def test_the_loss_is_the_formula_of_the_manual():
    alpha, T = 0.7, 4.0
    hard = sum(
        -math.log(softmax(row, 1.0)[label])
        for row, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True)
    )
    soft = sum(
        t * math.log(t / s)
        for student, teacher in zip(LOGITS.tolist(), TEACHER.tolist(), strict=True)
        for s, t in zip(softmax(student, T), softmax(teacher, T), strict=True)
    )
    loss = loss_of(taught_by(alpha=alpha, temperature=T), LOGITS, TEACHER)
    assert loss.item() == pytest.approx(alpha * T**2 * soft / 2 + (1 - alpha) * hard / 2, rel=1e-5)


def test_a_student_like_its_teacher_has_no_teacher_loss():
    assert loss_of(taught_by(alpha=1.0), TEACHER, TEACHER).item() == pytest.approx(0, abs=1e-7)


def test_without_a_teacher_the_task_counts_alone():
    loss = loss_of(taught_by(alpha=0.7), LOGITS)
    assert loss.item() == pytest.approx(torch.nn.functional.cross_entropy(LOGITS, LABELS).item())


def test_half_precision_logits_are_compared_in_float32():
    loss = loss_of(Objective(), LOGITS.bfloat16(), TEACHER.bfloat16())
    assert loss.dtype == torch.float32


def test_reconstruction_is_squared_error_to_input_and_teacher():
    x, output, teacher = torch.zeros(2, 4), torch.full((2, 4), 2.0), torch.full((2, 4), 1.0)
    loss = loss_of(taught_by(task="reconstruction", alpha=0.25), output, teacher, x)
    assert loss.item() == pytest.approx(0.25 * 1.0 + 0.75 * 4.0)
