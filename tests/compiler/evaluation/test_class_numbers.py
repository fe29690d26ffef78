"""Answers that are numbers of classes are no scores of classes."""

import numpy as np
import pytest

from edgekiln.compiler.evaluation.report import Examination
from edgekiln.models.tasks.classification import Classification
from edgekiln.models.tasks.heads import Head
from edgekiln.models.tasks.task import OutputFacts
from edgekiln.runtime.errors import InputError


def test_the_best_classes_are_not_taken_for_scores() -> None:
    """As of a program with --after top-k, which gives as many numbers as there are classes."""
    head = Head(name="", task=Classification())
    facts = {"": OutputFacts(classes=3)}
    examination = Examination("data", [head], facts, {"": np.zeros(2, np.int64)})
    best = np.array([[2, 0, 1], [0, 1, 2]])
    with pytest.raises(InputError, match="answers by numbers of classes"):
        examination.add({"classes": best}, {"x": np.zeros((2, 4), np.float32)}, 2)
    examination.add({"scores": best.astype(np.float32)}, {"x": np.zeros((2, 4), np.float32)}, 2)
