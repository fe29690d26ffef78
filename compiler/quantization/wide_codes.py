"""Activations in 16 bits: two bytes for values of which one keeps too little.

Codes of 16 bits lie around zero. Their products with weights of 8 bits are added in 32, so a scale
is at least what the largest sum that there can be asks for. What a byte saturates at, as after a
ReLU, a Clip does.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.io import DEQUANTIZE, QUANTIZE
from edgekiln.compiler.onnx_model.names import unique
from edgekiln.compiler.onnx_model.raising import raised
from edgekiln.compiler.onnx_model.recurrent_layers import is_steps
from edgekiln.compiler.onnx_model.rewriting import drop_unused_weights
from edgekiln.compiler.quantization.products import ModelWeights, Product, in_rows, products

if TYPE_CHECKING:
    import onnx

ACTIVATION_BITS, WIDE_BITS = 8, 16
_OPSET = 21  # the first whose QuantizeLinear makes them
_MOST_CODE = (1 << (WIDE_BITS - 1)) - 1
_EVERY = (-_MOST_CODE - 1, _MOST_CODE)
_MOST_SUM = 2.0**31 - 2
_UP = 1 + 2.0**-20  # so that no rounding makes a scale too small

# By the name of a product's node: real numbers, one a channel.
Biases = Mapping[str, NDArray[np.floating]]


@dataclass(frozen=True, kw_only=True)
class _ScaleGroup:
    """The nodes that share a scale: a quantization, and what only moves its codes."""

    quantize: "list[onnx.NodeProto]" = field(default_factory=list)
    dequantize: "list[onnx.NodeProto]" = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What of tensors decides whether their codes may be all that there are, and must be."""

    given: Collection[str]  # the model's inputs
    clipped: Collection[str]


@dataclass(frozen=True, kw_only=True)
class _Wide:
    """What becomes of a group."""

    group: _ScaleGroup
    scale: np.float32
    codes: tuple[int, int]  # the least and the largest
    readers: tuple[Product, ...]


def with_wide_codes(
    quantized: "onnx.ModelProto", nodes: Collection[str], biases: Biases,
    clipped: Collection[str], inside: Collection[str],
) -> "onnx.ModelProto":  # fmt: skip
    """The int8 model where what these nodes read and give has 16 bits; as it is where none of that
    are codes, or none can have as many.

    Args:
        nodes: their names.
        biases: of all products that have one.
        clipped: what a ReLU or a Clip has made, whose work the codes may do.
        inside: results that only functions of one value read: of sums they are not rounded, for
            there are no tables of so many codes, and one kernel computes both.
    """
    import onnx

    (opset,) = {o.version for o in quantized.opset_import if o.domain in ("", "ai.onnx")}
    made = onnx.ModelProto()
    made.CopyFrom(raised(quantized, opset, _OPSET) if opset < _OPSET else quantized)
    every, weights = products(made), ModelWeights(made)
    shared = Counter(each.bias_codes for each in every)
    known = _Known(given={value.name for value in made.graph.input}, clipped=clipped)
    chosen: dict[str, _Wide] = {}
    for scale, group in _groups(made, frozenset(nodes)).items():
        names = {node.output[0] for node in group.dequantize}
        readers = tuple(each for each in every if each.data in names)
        # What one changes of a bias would be another's, too.
        alone = all(shared[each.bias_codes] == 1 for each in readers if each.bias_codes)
        wide = _wide(known, weights, group, readers, biases) if alone else None
        if wide is not None:
            chosen[scale] = wide
    sums = {node.output[0] for node in made.graph.node if _has_weights(node)}
    for scale, wide in chosen.items():
        if {node.input[0] for node in wide.group.quantize} <= sums & set(inside):
            _leave_out(made, scale, wide)
        else:
            _widen(made, scale, wide)
    weights = ModelWeights(made)
    for product in products(made):
        if any(product.name == each.name for wide in chosen.values() for each in wide.readers):
            own = weights.read(product)
            weights.write(product, replace(own, bias=biases.get(product.name, own.bias)))
    if chosen:
        del made.graph.value_info[:]  # which the raising wrote down, and says int8
        drop_unused_weights(made)
        onnx.checker.check_model(made, full_check=True)
    return made if chosen else quantized


def has_wide_codes(model: "onnx.ModelProto") -> bool:
    """Whether an int8 model of ours has activations of 16 bits: their zero points are int16."""
    import onnx

    return any(each.data_type == onnx.TensorProto.INT16 for each in model.graph.initializer)


def _groups(model: "onnx.ModelProto", nodes: Collection[str]) -> dict[str, _ScaleGroup]:
    """The quantizations that these nodes read or give, by the name of their scale; none of which a
    recurrent layer or a constant has a part.
    """
    stored = {weight.name for weight in model.graph.initializer}
    makers = {out: node for node in model.graph.node for out in node.output}
    groups: dict[str, _ScaleGroup] = {}
    wanted: set[str] = set()
    barred: set[str] = set()
    scale_of: dict[str, str] = {}  # by the name of what is dequantized
    for node in model.graph.node:
        if node.op_type == QUANTIZE:
            groups.setdefault(node.input[1], _ScaleGroup()).quantize.append(node)
            maker = makers.get(node.input[0])
            if maker is not None and maker.name in nodes:
                wanted.add(node.input[1])
        elif node.op_type == DEQUANTIZE:
            groups.setdefault(node.input[1], _ScaleGroup()).dequantize.append(node)
            scale_of[node.output[0]] = node.input[1]
            if node.input[0] in stored or makers.get(node.input[0], node).op_type != QUANTIZE:
                barred.add(node.input[1])
        if is_steps(node):
            barred |= {scale_of[name] for name in node.input if name in scale_of}
        if node.name in nodes:
            wanted |= {scale_of[name] for name in node.input if name in scale_of}
    for group_scale, group in groups.items():
        made_by = [makers.get(node.input[0]) for node in group.quantize]
        if any(maker is not None and is_steps(maker) for maker in made_by):
            barred.add(group_scale)
    return {name: group for name, group in groups.items() if name in wanted - barred}


def _wide(
    known: _Known, weights: ModelWeights, group: _ScaleGroup, readers: tuple[Product, ...],
    biases: Biases,
) -> _Wide | None:  # fmt: skip
    """The scale and the codes of a group; None where it cannot have 16 bits."""

    def least(low: float, high: float) -> float:
        scales = (_least_scale(weights, each, biases, low, high) for each in readers)
        return max(scales, default=0.0) * _UP

    first = group.quantize[0]
    scale8, zero8 = (weights[name] for name in first.input[1:3])
    if scale8.size != 1 or zero8.dtype.itemsize != 1:
        return None
    span = np.iinfo(zero8.dtype.name)
    low, high = (float((end - int(zero8)) * np.float64(scale8)) for end in (span.min, span.max))
    exact = max(-low, high) / _MOST_CODE
    whole = exact * (_MOST_CODE + 1)  # the least code has one more
    if first.input[0] not in known.clipped and least(-whole, whole) <= exact:
        return _Wide(group=group, scale=np.float32(exact), codes=_EVERY, readers=readers)
    if first.input[0] in known.given:  # nothing clips what the caller gives
        return None
    scale = np.float32(max(exact, least(low, high)))
    codes = (max(round(low / scale), -_MOST_CODE), min(round(high / scale), _MOST_CODE))
    return _Wide(group=group, scale=scale, codes=codes, readers=readers)


def _least_scale(
    weights: ModelWeights, product: Product, biases: Biases, low: float, high: float
) -> float:
    """The least scale of data in [low, high] at which all sums of a product stay in 32 bits."""
    rows = in_rows(weights[product.codes], product.axis)
    above, below = rows.clip(min=0).sum(axis=1), -rows.clip(max=0).sum(axis=1)
    largest = np.maximum(high * above - low * below, high * below - low * above)
    bias = biases.get(product.name, weights.bias(product))
    if bias is not None:
        largest = largest + np.abs(bias.astype(np.float64)) / weights.real(product.scale)
    # Half a code of each value, and of the bias, is what rounding adds.
    left = _MOST_SUM - (above + below) / 2
    return float((largest / left).max(initial=0.0))


def _widen(model: "onnx.ModelProto", scale_name: str, wide: _Wide) -> None:
    """Put a group's codes in 16 bits, and a Clip before each quantization that saturated."""
    rewriting = _Rewriting(model, scale_name, wide)
    scale, zero = (rewriting.unique(f"{scale_name}_{part}") for part in ("wide", "wide_zero"))
    rewriting.arrays |= {scale: np.asarray(wide.scale), zero: np.asarray(0, np.int16)}
    moved = {node.output[0] for node in wide.group.dequantize}
    makers = {out: node for node in model.graph.node for out in node.output}
    for node in rewriting.nodes():
        if node.name in rewriting.quantize and not _moves(makers.get(node.input[0]), moved):
            node.input[0] = rewriting.clipped(node)
        if node.name in rewriting.quantize | rewriting.dequantize:
            node.input[1:] = [scale, zero]
        rewriting.made.append(node)
    rewriting.write()


def _leave_out(model: "onnx.ModelProto", scale_name: str, wide: _Wide) -> None:
    """Let the readers of a group's codes read the floats, through a Clip where codes saturated."""
    rewriting = _Rewriting(model, scale_name, wide)
    renamed: dict[str, str] = {}
    for node in rewriting.nodes():
        if node.name in rewriting.quantize:
            renamed[node.output[0]] = rewriting.clipped(node)
        elif node.name in rewriting.dequantize:
            renamed[node.output[0]] = renamed[node.input[0]]
        else:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            rewriting.made.append(node)
    rewriting.write()


class _Rewriting:
    """A model's nodes and constants while a group's are changed."""

    def __init__(self, model: "onnx.ModelProto", scale_name: str, wide: _Wide) -> None:
        self._model, self._wide = model, wide
        self._taken = {name for node in model.graph.node for name in (*node.input, *node.output)}
        self.quantize = {node.name for node in wide.group.quantize}
        self.dequantize = {node.name for node in wide.group.dequantize}
        self.made: list[onnx.NodeProto] = []
        self.arrays: dict[str, NDArray[np.generic]] = {}
        self._bounds: list[str] = []
        if wide.codes != _EVERY:
            self._bounds = [self.unique(f"{scale_name}_{end}") for end in ("least", "most")]
            ends = (np.asarray(np.float32(code) * wide.scale) for code in wide.codes)
            self.arrays |= dict(zip(self._bounds, ends, strict=True))

    def unique(self, name: str) -> str:
        return unique(name, self._taken)

    def nodes(self) -> "Iterator[onnx.NodeProto]":
        """Copies of all nodes, in order."""
        for node in self._model.graph.node:
            yield type(node).FromString(node.SerializeToString())

    def clipped(self, node: "onnx.NodeProto") -> str:
        """What a quantization reads, through a Clip if it saturated."""
        import onnx

        x: str = node.input[0]
        if not self._bounds:
            return x
        clipped, name = self.unique(f"{x}_in_range"), self.unique(f"{node.name}_range")
        clip = onnx.helper.make_node("Clip", [x, *self._bounds], [clipped], name=name)
        self.made.append(clip)
        return clipped

    def write(self) -> None:
        """Give the model what was made."""
        import onnx

        del self._model.graph.node[:]
        self._model.graph.node.extend(self.made)
        self._model.graph.initializer.extend(
            onnx.numpy_helper.from_array(array, name) for name, array in self.arrays.items()
        )


def _has_weights(node: "onnx.NodeProto") -> bool:
    row = operators.of(node)
    return row is not None and row.weights is not None


def _moves(maker: "onnx.NodeProto | None", codes: Collection[str]) -> bool:
    """Whether what is quantized has been moved alone, and is one of these codes already."""
    if maker is None:
        return False
    row = operators.of(maker)
    return row is not None and row.role == "pass-through" and maker.input[0] in codes
