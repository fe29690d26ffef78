"""The largest magnitude in each channel of an activation, on samples."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.quantization.ranges import with_outputs

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.model_inputs import Inputs

# By tensor: one number a channel.
Peaks = Mapping[str, NDArray[np.float64]]


def channel_peaks(
    model: "onnx.ModelProto", axes: Mapping[str, int], calls: "Iterable[Inputs]"
) -> dict[str, NDArray[np.float64]]:
    """Run a float model and look at some of its activations.

    Args:
        axes: the tensors, each with the axis of its channels.
        calls: the inputs of each.
    """
    from edgekiln.compiler.onnx_model.stream_session import open_session

    found: dict[str, NDArray[np.float64]] = {}
    if not axes:
        return found
    session = open_session(with_outputs(model, axes), optimize=True)
    for call in calls:
        for (name, axis), array in zip(axes.items(), session(call, list(axes)), strict=True):
            rows = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
            most = np.abs(rows).max(axis=1).astype(np.float64)
            found[name] = np.maximum(found.get(name, most), most)
    return found
