"""The range of each tensor by the method that its readers like best.

No calibration method is the best of every tensor: what may be clipped depends on the weights that
multiply it. So each candidate is tried where it matters: in the output of the products that read
the tensor, as OMSE does for weights and activations: Choukroun et al., Low-bit Quantization of
Neural Networks for Efficient Inference, 2019 (arXiv:1902.06822), section 3, with the error of the
layer's output in the place of the tensor's own.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.quantization.calibration import METHODS, Calibration, Method
from edgekiln.compiler.quantization.products import real_weights
from edgekiln.compiler.quantization.ranges import LEVELS, Range
from edgekiln.compiler.quantization.walk import LayerWalk, Values

if TYPE_CHECKING:
    import onnx

_SAMPLES = 64  # that candidates are tried on


def best_ranges(
    model: "onnx.ModelProto", tensors: list[str], calibration: Calibration
) -> dict[str, Range]:
    """The range of each tensor by the method with the least error in the outputs of the products
    that read it; of tensors that no product reads, by their own mean squared error.

    Args:
        model: float.
        tensors: activations of it.
        calibration: its own method is not asked.
    """
    found = calibration.by_methods(model, tensors, METHODS)
    chosen = {name: ranges["mse"] for name, ranges in found.items()}
    calls = calibration.walk_calls(_SAMPLES)
    walk = LayerWalk(model, calls, optimize=True)
    products = real_weights(model)
    errors: dict[str, dict[Method, float]] = {}
    for node in model.graph.node:
        data = node.input[0] if node.name in products else ""
        if data not in found:
            continue
        real = walk.before(node.name, data)
        exact = walk.of(node.name)
        own = errors.setdefault(data, dict.fromkeys(METHODS, 0.0))
        known: dict[Range, float] = {}
        for method, span in found[data].items():
            if span not in known:
                rounded = walk.of(node.name, {data: [_rounded(array, span) for array in real]})
                known[span] = _relative_error(exact, rounded)
            own[method] += known[span]
    for name, error in errors.items():
        chosen[name] = found[name][_least(error)]
    return chosen


def _least(errors: Mapping[Method, float]) -> Method:
    """The method with the least error; of equal ones the first."""
    return min(errors, key=lambda method: errors[method])


def _rounded(array: NDArray[np.generic], span: Range) -> NDArray[np.float32]:
    """What quantization to codes of this range makes of values."""
    low, high = span
    scale = (high - low) / LEVELS or 1.0
    zero = np.rint(-low / scale)
    codes = np.clip(np.rint(array.astype(np.float32) / scale) + zero, 0, LEVELS)
    real: NDArray[np.float32] = ((codes - zero) * scale).astype(np.float32)
    return real


def _relative_error(exact: Values, rounded: Values) -> float:
    noise = signal = 0.0
    for real, other in zip(exact, rounded, strict=True):
        wanted = real.astype(np.float64)
        noise += float(np.square(wanted - other.astype(np.float64)).sum())
        signal += float(np.square(wanted).sum())
    return noise / signal if signal else 0.0
