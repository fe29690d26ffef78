"""Data sets: readers, splits, and preprocessing constants."""

from edgekiln.models.data.dataset import Dataset, Split
from edgekiln.models.data.loading import load
from edgekiln.models.data.unlabelled import is_unlabelled, load_samples

__all__ = ["Dataset", "Split", "is_unlabelled", "load", "load_samples"]
