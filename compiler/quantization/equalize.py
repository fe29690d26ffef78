"""Cross-layer equalisation: balance channels between two layers without changing the function.

A network whose channels differ by orders of magnitude loses the small ones to the one scale of an
activation. ReLU lets a positive factor through, relu(s·x) = s·relu(x), so channel i of a layer can
be divided by s_i and the next layer's weights for it multiplied by s_i. Nagel et al., Data-Free
Quantization Through Weight Equalization and Bias Correction, 2019 (arXiv:1906.04721), section 4.1.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model import operators

if TYPE_CHECKING:
    import onnx

_SWEEPS = 20  # a change spreads by one layer a sweep; enough for it to settle
_SETTLED = 1e-3  # largest relative change of a factor that is not worth another sweep


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """Names of two layers' weights, `second` reading what `first` makes."""

    first: str
    bias: str  # of the first; "" when it has none
    second: str
    groups: int  # of the second


def equalize(model: "onnx.ModelProto") -> int:
    """Balance every pair of convolutions or Gemms with nothing but ReLU and pooling between them.

    Left alone: pairs around a residual add, a concat or a Clip, and weights that two nodes share.

    Args:
        model: rewritten in place.

    Returns:
        How many pairs there were.
    """
    import onnx

    pairs = _pairs(model)
    arrays: dict[str, NDArray[np.generic]] = {
        weight.name: onnx.numpy_helper.to_array(weight).astype(np.float64)
        for weight in model.graph.initializer
        if weight.data_type == onnx.TensorProto.FLOAT
    }
    # A layer is the second of one pair and the first of the next, so one sweep settles neither.
    for _ in range(_SWEEPS):
        changes = [_balance(pair, arrays) for pair in pairs]
        if max(changes, default=0.0) < _SETTLED:
            break
    touched = {name for pair in pairs for name in (pair.first, pair.bias, pair.second)}
    for weight in model.graph.initializer:
        if weight.name in touched:
            array = arrays[weight.name].astype(np.float32)
            weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    return len(pairs)


def _balance(pair: _Pair, arrays: dict[str, NDArray[np.generic]]) -> float:
    """Make both ranges of each channel √(r₁ r₂). Returns the largest factor's distance from 1."""
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
    own = {w.name for w in model.graph.initializer if len(readers.get(w.name, [])) == 1}
    found = []
    for node in model.graph.node:
        if not _is_layer(node, own):
            continue
        after = _next_layer(node, readers, outputs)
        if after is not None and _is_layer(after, own):
            groups = next((a.i for a in after.attribute if a.name == "group"), 1)
            bias = node.input[2] if len(node.input) > 2 else ""
            found.append(
                _Pair(first=node.input[1], bias=bias, second=after.input[1], groups=groups)
            )
    return found


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
    node: "onnx.NodeProto", readers: "dict[str, list[onnx.NodeProto]]", outputs: set[str]
) -> "onnx.NodeProto | None":
    """The node behind a chain of channel-wise, positively homogeneous operations."""
    while True:
        behind = readers.get(node.output[0], [])
        if len(behind) != 1 or node.output[0] in outputs:
            return None
        flat = node.op_type == "GlobalAveragePool" and behind[0].op_type in ("Flatten", "Reshape")
        row = operators.of(behind[0])
        if not (flat or (row is not None and row.homogeneous)):
            return behind[0] if behind[0].input[0] == node.output[0] else None
        node = behind[0]
