"""Data sets: readers, splits, and preprocessing constants."""

from edgekiln.models.data.dataset import Dataset, Split
from edgekiln.models.data.loading import load

__all__ = ["Dataset", "Split", "load"]
