"""The steps of recurrent layers in codes: int8 weights, and one scale for all states.

Between its products a cell stays float, see `recurrent_cells`: it adds to what it remembers in
every step, so that what 8 bits cut off would add up.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators, own_functions, recurrent_functions, rewriting
from edgekiln.compiler.onnx_model.io import DEQUANTIZE, QUANTIZE
from edgekiln.compiler.onnx_model.recurrent_functions import CODED, DOMAIN, GATES, STEPS
from edgekiln.compiler.onnx_model.recurrent_layers import is_steps
from edgekiln.compiler.quantization.products import Product, most_code, products
from edgekiln.compiler.quantization.ranges import Range
from edgekiln.compiler.quantization.weight_scales import peak_scales

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekiln.compiler.onnx_model.rewriting import Constant

_LEVELS = 255.0
_LOWEST = -128
_MOST_BIAS = 2**30


def observed(node: "onnx.NodeProto") -> list[str]:
    """What decides about the scale of the states: all of them, and the first one."""
    return [node.output[0], node.input[1]]


def with_first_states(
    nodes: "Iterable[onnx.NodeProto]", ranges: Mapping[str, Range]
) -> dict[str, Range]:
    """The ranges, those of states made wide enough for the first one."""
    found = dict(ranges)
    for node in nodes:
        if is_steps(node):
            spans = [found[name] for name in observed(node) if name in found]
            found[node.output[0]] = (min(low for low, _ in spans), max(high for _, high in spans))
    return found


def in_codes(
    facts: rewriting.ModelFacts, nodes: "Iterable[onnx.NodeProto]"
) -> "Iterator[onnx.NodeProto]":
    """The nodes without steps whose data are not multiplied in integers: both are, or neither."""
    found = list(nodes)
    names = {node.name for node in found}
    for node in found:
        maker = facts.makers.get(node.input[0]) if is_steps(node) else None
        if not is_steps(node) or (maker is not None and maker.name in names):
            yield node


def write(
    model: "onnx.ModelProto", nodes: "Iterable[onnx.NodeProto]", ranges: Mapping[str, Range]
) -> None:
    """Put layers of codes in the place of these steps, and of the products of their data, in a QDQ
    model.

    Args:
        nodes: by whose names the steps are found.
        ranges: of the states of each, by the name of its first result.
    """
    names = {node.name for node in nodes if is_steps(node)}
    if not names:
        return
    facts = rewriting.facts_of(model)
    found = {each.output: each for each in products(model)}
    made: list[onnx.NodeProto] = []
    dropped: set[str] = set()
    for node in model.graph.node:
        if node.name in names:
            data = found[node.input[0]]
            dropped.add(data.name)
            made += _layer(facts, node, data, ranges[node.output[0]], dropped)
        else:
            made.append(node)
    model.graph.initializer.extend(facts.made)
    kept = [node for node in made if node.name not in dropped]
    # What made floats of codes that nobody else reads.
    read = {name for node in kept for name in node.input} | facts.outputs
    kept = [each for each in kept if each.op_type != DEQUANTIZE or read & {*each.output}]
    rewriting.replace_nodes(model, kept)
    own_functions.declare(model)


def _layer(
    facts: rewriting.ModelFacts, node: "onnx.NodeProto", data: Product, span: Range,
    dropped: set[str],
) -> "list[onnx.NodeProto]":  # fmt: skip
    """The layer, and what makes floats of its codes for whoever reads floats.

    Args:
        dropped: gets the name of a QuantizeLinear of the states, whose codes the layer gives.
    """
    import onnx

    y = node.output[0]
    readers = facts.readers.get(y, [])
    quantizers = [each for each in readers if each.op_type == QUANTIZE]
    if quantizers:
        numbers = list(quantizers[0].input[1:3])
        scale, zero = (facts.constants[name] for name in numbers)
    else:
        scale, zero = _numbers(span)
        numbers = [facts.add(f"{y}_scale", scale), facts.add(f"{y}_zero_point", zero)]
    x_scale, operands = _data(facts, node, data)
    found: list[onnx.NodeProto] = []
    if node.op_type == "LstmSteps":
        operands[-1], found = _first_state(facts, node, numbers)
    codes = quantizers[0].output[0] if quantizers else facts.free(f"{y}_codes")
    found.append(
        onnx.helper.make_node(
            CODED[node.op_type], [*operands, *_state(facts, node, scale, zero)],
            [codes, *node.output[1:]], name=node.name, domain=DOMAIN,
            x_scale=float(x_scale), y_scale=float(scale), **operators.attributes(node),
        )
    )  # fmt: skip
    dropped |= {each.name for each in quantizers[:1]}
    if len(readers) > len(quantizers[:1]) or y in facts.outputs:
        found.append(onnx.helper.make_node(DEQUANTIZE, [codes, *numbers], [y], name=f"{y}_floats"))
    return found


def _data(
    facts: rewriting.ModelFacts, node: "onnx.NodeProto", data: Product
) -> tuple[float, list[str]]:
    """The scale of the data's codes, and the operands `DATA`."""
    dequantize = facts.makers[data.data]
    scale, zero = (facts.constants[name] for name in dequantize.input[1:3])
    matrix = facts.constants[data.codes]
    real = float(scale) * facts.constants[data.scale].astype(np.float64)
    bias = facts.constants[data.bias_codes] if data.bias_codes else np.zeros(len(real), np.int32)
    numbers = {
        "x_zero": np.array(zero.item(), np.int8),
        "inputs": np.ascontiguousarray(matrix if data.axis else matrix.T),
        "x_bias": bias.astype(np.int32),
        "x_factors": (real * _lifts(len(real), node)).astype(np.float32),
    }
    named = [facts.add(f"{node.output[0]}.{name}", value) for name, value in numbers.items()]
    return float(scale), [dequantize.input[0], *named, node.input[1]]


def _first_state(
    facts: rewriting.ModelFacts, node: "onnx.NodeProto", numbers: list[str]
) -> "tuple[str, list[onnx.NodeProto]]":
    """The codes of an LSTM's first state, and what makes them where nobody does yet."""
    import onnx

    state = node.input[1]
    maker = facts.makers.get(state)
    if maker is not None and maker.op_type == DEQUANTIZE:
        pairs = zip(maker.input[1:3], numbers, strict=True)
        if all(np.array_equal(facts.constants[a], facts.constants[b]) for a, b in pairs):
            return maker.input[0], []
    codes = facts.free(f"{node.output[0]}.first")
    made = onnx.helper.make_node(QUANTIZE, [state, *numbers], [codes], name=codes)
    return codes, [made]


def _lifts(rows: int, node: "onnx.NodeProto") -> "NDArray[np.float64]":
    """Steps of what each gate's function is given, in 1: tanh is twice σ of twice that."""
    lifts = np.full(rows, STEPS, np.float64)
    lifts[-(rows // GATES[node.op_type]) :] *= 2
    return lifts


def _state(
    facts: rewriting.ModelFacts, node: "onnx.NodeProto", scale: "Constant", zero: "Constant"
) -> list[str]:
    """An LSTM's first cell, or a GRU's bias; then the operands `STATE`."""
    lstm = node.op_type == "LstmSteps"
    _, _, *others = node.input
    matrix = facts.constants[others[1] if lstm else others[0]].astype(np.float64)
    scales = peak_scales(matrix.T, most_code())
    real = float(scale) * scales.astype(np.float64)
    stem = node.output[0]
    numbers: dict[str, Constant] = {
        "weights": np.clip(np.rint(matrix / scales), -most_code(), most_code()).astype(np.int8),
        "factors": (real * _lifts(matrix.shape[1], node)).astype(np.float32),
        "inverse": np.array(1 / np.float32(scale), np.float32),
        "zero": np.array(zero.item(), np.int8),
    }
    own = others[0]
    if not lstm:
        bias = np.rint(facts.constants[others[1]].astype(np.float64) / real)
        own = facts.add(f"{stem}.bias", np.clip(bias, -_MOST_BIAS, _MOST_BIAS).astype(np.int32))
    levels, rises = recurrent_functions.table()
    return [
        own,
        *(facts.add(f"{stem}.{name}", value) for name, value in numbers.items()),
        _shared(facts, "edgekiln.levels", levels),
        _shared(facts, "edgekiln.rises", rises),
    ]


def _numbers(span: Range) -> "tuple[Constant, Constant]":
    """Scale and zero point of a range, which gets a code for 0."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    scale = np.float32(max(high - low, 1e-6) / _LEVELS)
    zero = np.clip(np.rint(_LOWEST - low / scale), _LOWEST, _LOWEST + _LEVELS)
    return np.array(scale, np.float32), np.array(zero, np.int8)


def _shared(facts: rewriting.ModelFacts, name: str, value: "Constant") -> str:
    """A constant that all layers read."""
    known = facts.constants.get(name)
    if known is not None and np.array_equal(known, value):
        return name
    return facts.add(name, value)
