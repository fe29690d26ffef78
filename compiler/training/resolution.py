"""Whether a network can be trained on images of another size than those it is for."""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.training.batches import Batches
from edgekiln.models.copies import copied
from edgekiln.runtime.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from edgekiln.models.data.dataset import Dataset


def check_resolution(module: "nn.Module", data: "Dataset", side: int) -> None:
    """Try the network on two images of `side` pixels; 0 is the size that they have.

    Raises:
        ConfigError: the samples are no images, or the network takes none of this size.
    """
    import torch

    if not side:
        return
    two = data.train.take(np.arange(2))
    if two.x.dtype != np.uint8 or two.x.ndim != 4:
        raise ConfigError("resolution: the samples are no images", "leave resolution out")
    batches = Batches(split=two, preprocessing=data.preprocessing, batch_size=2, resolution=side)
    # A copy: a network may keep what it has seen.
    trial = copied(module).eval()
    try:
        with torch.no_grad():
            trial(*next(batches.training(0)).arguments)
    except RuntimeError as error:
        raise ConfigError(
            f"resolution = {side}: the network takes no images of this size",
            hint="it must end in a global pooling; a size that all its strides divide may do",
        ) from error
