"""What the channels of an activation hold on samples: largest magnitudes, or ranges and rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.quantization.ranges import with_outputs

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.model_inputs import Inputs

# By tensor: one number a channel.
Peaks = Mapping[str, NDArray[np.float64]]
_ROWS = 512  # kept of a tensor


@dataclass(frozen=True, kw_only=True)
class ChannelSamples:
    """What the channels of a tensor, which lie along its last axis, hold on samples."""

    low: NDArray[np.float64]  # (channels,), of all samples
    high: NDArray[np.float64]  # (channels,)
    rows: NDArray[np.float32]  # (some rows, channels)

    @property
    def peaks(self) -> NDArray[np.float64]:
        """The largest magnitude in each channel, (channels,)."""
        return np.maximum(-self.low, self.high)


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


def channel_samples(
    model: "onnx.ModelProto", tensors: Sequence[str], calls: "Sequence[Inputs]"
) -> dict[str, ChannelSamples]:
    """Run a float model and keep some rows of its activations, drawn by chance, and the range of
    every channel.
    """
    from edgekiln.compiler.onnx_model.stream_session import open_session

    found: dict[str, ChannelSamples] = {}
    if not tensors or not calls:
        return found
    session = open_session(with_outputs(model, tensors), optimize=True)
    wanted = -(-_ROWS // len(calls))  # of each call
    draw = np.random.default_rng(0)
    for call in calls:
        for name, array in zip(tensors, session(call, list(tensors)), strict=True):
            rows = array.reshape(-1, array.shape[-1]).astype(np.float32)
            # By chance: the first row of every call may be a token unlike all others.
            kept = rows[draw.permutation(len(rows))[:wanted]]
            before = found.get(name)
            low, high = rows.min(axis=0).astype(np.float64), rows.max(axis=0).astype(np.float64)
            found[name] = ChannelSamples(
                low=low if before is None else np.minimum(low, before.low),
                high=high if before is None else np.maximum(high, before.high),
                rows=kept if before is None else np.concatenate([before.rows, kept]),
            )
    return found
