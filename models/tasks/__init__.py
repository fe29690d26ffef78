"""Tasks: what a model is trained for, how good it is, and what that number is called."""

from edgekiln.models.tasks.heads import Head, heads_of
from edgekiln.models.tasks.metric import Metric
from edgekiln.models.tasks.task import LearningTask, OutputFacts

__all__ = ["Head", "LearningTask", "Metric", "OutputFacts", "heads_of"]
