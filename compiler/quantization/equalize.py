"""Cross-layer equalisation: balance channels between two layers without changing the function.

A network whose channels differ by orders of magnitude loses the small ones to the one scale of an
activation. ReLU lets a positive factor through, relu(s·x) = s·relu(x), so channel i of a layer can
be divided by s_i and the next layer's weights for it multiplied by s_i. Nagel et al., Data-Free
Quantization Through Weight Equalization and Bias Correction, 2019 (arXiv:1906.04721), section 4.1.
LeakyRelu and PRelu let a factor through as ReLU does. A Clip from 0 to b does so in a channel that
stays below b: there s_i is kept so large that it still does; a channel that reaches b keeps its
size.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.quantization.channel_peaks import Peaks

if TYPE_CHECKING:
    import onnx

_SWEEPS = 20  # a change spreads by one layer a sweep; enough for it to settle
_SETTLED = 1e-3  # largest relative change of a factor that is not worth another sweep
_REACH = 0.9  # of a Clip's bound: a channel that comes nearer may be clipped on other samples
_LINEAR_PIECES = ("LeakyRelu", "PRelu")  # two straight lines that meet in 0


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """Names of two layers' weights, `second` reading what `first` makes."""

    first: str
    bias: str  # of the first; "" when it has none
    second: str
    groups: int  # of the second
    clips: Mapping[str, float] = field(default_factory=dict)  # between them: output → upper bound


def equalize(model: "onnx.ModelProto", peaks: Peaks | None = None) -> int:
    """Balance every pair of convolutions or Gemms with nothing between them but pooling and what
    lets a factor through.

    Left alone: pairs around a residual add or a concat, and weights that two nodes share.

    Args:
        model: rewritten in place.
        peaks: the largest value in each channel of the tensors of `clipped`; pairs around others
            are left alone, too.

    Returns:
        How many pairs there were.
    """
    import onnx

    peaks = peaks or {}
    pairs = [pair for pair in _pairs(model) if peaks.keys() >= pair.clips.keys()]
    least = {pair.first: _least_factors(pair, peaks) for pair in pairs if pair.clips}
    arrays: dict[str, NDArray[np.generic]] = {
        weight.name: onnx.numpy_helper.to_array(weight).astype(np.float64)
        for weight in model.graph.initializer
        if weight.data_type == onnx.TensorProto.FLOAT
    }
    # A layer is the second of one pair and the first of the next, so one sweep settles neither.
    for _ in range(_SWEEPS):
        changes = [_balance(pair, arrays, least) for pair in pairs]
        if max(changes, default=0.0) < _SETTLED:
            break
    touched = {name for pair in pairs for name in (pair.first, pair.bias, pair.second)}
    for weight in model.graph.initializer:
        if weight.name in touched:
            array = arrays[weight.name].astype(np.float32)
            weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    return len(pairs)


def clipped(model: "onnx.ModelProto") -> list[str]:
    """The results of Clips between the layers of pairs: `equalize` wants to know their channels."""
    return list(dict.fromkeys(name for pair in _pairs(model) for name in pair.clips))


def _least_factors(pair: _Pair, peaks: Peaks) -> NDArray[np.float64]:
    """What a channel may be divided by at least, so that it stays below the bound of each Clip; NaN
    where it comes too near and keeps its size.
    """
    shares = [peaks[name] / (bound * _REACH) for name, bound in pair.clips.items()]
    most: NDArray[np.float64] = np.max(shares, axis=0)
    return np.where(most < 1.0, most, np.nan)


def _balance(
    pair: _Pair, arrays: dict[str, NDArray[np.generic]], least: dict[str, NDArray[np.float64]]
) -> float:
    """Make both ranges of each channel √(r₁ r₂). Returns the largest factor's distance from 1.

    Args:
        least: by the first layer's weights, what may be divided by; brought up to date.
    """
    first, second = arrays[pair.first], arrays[pair.second]
    ours = np.abs(first).reshape(len(first), -1).max(axis=1)
    # (groups, OC / groups, C / groups, kernel): channel i of the first layer is one of the third
    # axis.
    by_group = second.reshape(pair.groups, len(second) // pair.groups, second.shape[1], -1)
    theirs = np.abs(by_group).max(axis=(1, 3)).reshape(-1)  # one a channel, group by group
    # A channel of zeros on either side has no ratio, and keeps its factor of 1.
    alive = (ours > 0) & (theirs > 0)
    factor = np.ones_like(ours)
    factor[alive] = np.sqrt(ours[alive] / theirs[alive])
    if pair.first in least:
        allowed = least[pair.first]
        factor = np.where(np.isnan(allowed), 1.0, np.maximum(factor, allowed))
        least[pair.first] = allowed / factor
    arrays[pair.first] = first / factor.reshape(-1, *[1] * (first.ndim - 1))
    if pair.bias:
        arrays[pair.bias] = arrays[pair.bias] / factor
    scaled = by_group * factor.reshape(pair.groups, 1, second.shape[1], 1)
    arrays[pair.second] = scaled.reshape(second.shape)
    return float(np.abs(factor - 1).max())


def _pairs(model: "onnx.ModelProto") -> list[_Pair]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in model.graph.output}
    shapes = {w.name: w.dims for w in model.graph.initializer}
    own = {name for name in shapes if len(readers.get(name, [])) == 1}
    numbers = _numbers(model)
    found = []
    for node in model.graph.node:
        if not _is_layer(node, own):
            continue
        after, clips = _next_layer(node, readers, outputs, numbers)
        if after is not None and _is_layer(after, own):
            groups = next((a.i for a in after.attribute if a.name == "group"), 1)
            # A Reshape behind pooling may make other rows of the channels than one an image.
            if shapes[after.input[1]][1] * groups != shapes[node.input[1]][0]:
                continue
            bias = node.input[2] if len(node.input) > 2 else ""
            found.append(
                _Pair(
                    first=node.input[1],
                    bias=bias,
                    second=after.input[1],
                    groups=groups,
                    clips=clips,
                )
            )
    return found


def _numbers(model: "onnx.ModelProto") -> dict[str, float]:
    """The constants that are one number; NaN for those that are several."""
    from onnx import numpy_helper

    return {
        weight.name: float("nan") if weight.dims else float(numpy_helper.to_array(weight))
        for weight in model.graph.initializer
    }


def _is_layer(node: "onnx.NodeProto", own: set[str]) -> bool:
    """A convolution, or a Gemm in the form of a linear layer, with weights of its own."""
    if node.op_type not in ("Conv", "Gemm") or not own.issuperset(filter(None, node.input[1:])):
        return False
    attributes = {a.name: (a.f if a.type == a.FLOAT else a.i) for a in node.attribute}
    plain = (attributes.get("alpha", 1.0), attributes.get("beta", 1.0)) == (1.0, 1.0)
    return node.op_type == "Conv" or (
        plain and attributes.get("transB") == 1 and not attributes.get("transA")
    )


def _next_layer(
    node: "onnx.NodeProto",
    readers: "dict[str, list[onnx.NodeProto]]",
    outputs: set[str],
    numbers: Mapping[str, float],
) -> "tuple[onnx.NodeProto | None, dict[str, float]]":
    """The node behind a chain of channel-wise operations that let a positive factor through, and
    the Clips among these: output → upper bound.
    """
    clips: dict[str, float] = {}
    while True:
        behind = readers.get(node.output[0], [])
        if len(behind) != 1 or node.output[0] in outputs:
            return None, clips
        flat = node.op_type == "GlobalAveragePool" and behind[0].op_type in ("Flatten", "Reshape")
        bound = _upper_bound(behind[0], numbers)
        if bound is not None:
            clips[behind[0].output[0]] = bound
        elif not (flat or _lets_through(behind[0], numbers)):
            reads = behind[0].input[0] == node.output[0]
            return (behind[0] if reads else None), clips
        node = behind[0]


def _lets_through(node: "onnx.NodeProto", numbers: Mapping[str, float]) -> bool:
    """Whether f(s·x) = s·f(x) for every positive factor a channel."""
    row = operators.of(node)
    pieces = node.op_type in _LINEAR_PIECES and numbers.keys() >= set(node.input[1:])
    return pieces or (row is not None and row.homogeneous)


def _upper_bound(node: "onnx.NodeProto", numbers: Mapping[str, float]) -> float | None:
    """The bound of a Clip from 0 to a positive number; None for all else."""
    if node.op_type != "Clip" or len(node.input) != 3:
        return None
    low, high = (numbers.get(name) for name in node.input[1:])
    return high if low == 0.0 and high is not None and high > 0.0 else None
