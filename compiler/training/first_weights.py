"""First weights that depend on the data."""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from edgekiln.models.interface import samples_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgekiln.models.data.dataset import Dataset

_SAMPLES = 2048


@runtime_checkable
class InitializedBySamples(Protocol):
    """A module some of whose first weights are computed from samples."""

    def initialize_by_samples(self, x: "Tensor") -> None:
        """Set them, from samples (N, …) as the module takes them."""


def initialize_by_samples(module: "nn.Module", data: "Dataset") -> None:
    """Let a module that is about to be trained from random weights see some training samples."""
    if isinstance(module, InitializedBySamples):
        module.initialize_by_samples(*samples_of(data, _SAMPLES))
