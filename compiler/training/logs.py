"""Training curves for TensorBoard."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol


class Log(Protocol):
    """Takes one epoch's numbers."""

    def __call__(self, epoch: int, values: Mapping[str, float]) -> None:
        """Record `values` by name for an epoch, counted from 1."""


@contextmanager
def tensorboard(directory: Path | None, *, start: int) -> Iterator[Log]:
    """Write event files into `directory`; with None, nothing.

    Args:
        directory: a run's own; created when missing.
        start: the first epoch to come. Later points of a killed run are dropped.
    """
    if directory is None:
        yield lambda _epoch, _values: None
        return
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(directory), purge_step=start)

    def log(epoch: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, epoch)

    try:
        yield log
    finally:
        writer.close()
