"""A data set's samples in the form one model takes them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.manifest import Preprocessing

if TYPE_CHECKING:
    from edgekiln.compiler.onnx_model.io import Meta
    from edgekiln.models.data.dataset import Dataset, Split

# Layouts an image model can want, in the order in which they are tried when nobody says.
_LAYOUTS = ("NCHW", "NHWC", "N*")


@dataclass(frozen=True, kw_only=True)
class Feed:
    """A data set and the preprocessing that makes its samples one model's input."""

    dataset: "Dataset"
    preprocessing: Preprocessing

    def batches(
        self, split: "Split", *, batch: int, samples: int = 0
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Model input and labels, the first `samples` of the split (0: all), in its own order."""
        from edgekiln.runtime.inputs import preprocess

        count = min(samples or len(split), len(split))
        for start in range(0, count, batch):
            part = slice(start, min(start + batch, count))
            yield preprocess(split.x[part], self.preprocessing), split.y[part]


def feed_for(meta: "Meta", shape: tuple[int, ...], *, data: str, seed: int) -> Feed:
    """Load the data a model is calibrated and judged on.

    Args:
        meta: what the model says about itself. Its preprocessing, when given, is used as it is:
            the weights were trained with it. Otherwise the data set's is, in the layout that fits.
        shape: of the model's input, without the batch.
        data: spec of the data set; "" takes the one the model names.

    Raises:
        ConfigError: no data set given and none named by the model.
        InputError: samples and model differ in shape; the message holds both.
    """
    from edgekiln.models.data import load

    spec = data or meta.data
    if not spec:
        raise ConfigError(
            "the model does not name the data it was trained on",
            hint="say which to use: --data digits, or a folder, .npz, IDX or CIFAR file",
        )
    dataset = load(spec, seed)
    given = meta.preprocessing or dataset.preprocessing
    candidates = [given]
    if meta.preprocessing is None:
        candidates += [replace(given, layout=layout) for layout in _LAYOUTS]
    for candidate in candidates:
        if _sample_shape(dataset, candidate) == shape:
            return Feed(dataset=dataset, preprocessing=candidate)
    raise InputError(
        f"samples of {spec} have the shape {_sample_shape(dataset, given)}, "
        f"the model takes {shape}",
        hint="give data of the model's size, or resize it: --data 'PATH?size=HEIGHTxWIDTH'",
    )


def _sample_shape(dataset: "Dataset", preprocessing: Preprocessing) -> tuple[int, ...]:
    from edgekiln.runtime.inputs import preprocess

    return preprocess(dataset.test.x[:1], preprocessing).shape[1:]
