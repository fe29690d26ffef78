"""Makes of a float graph and ranges the one portable int8 model: QDQ, each operation DQ → op → Q.

Weights: q(w) = round(w / scale), symmetric, one scale per output channel, scale = max|w| / 127.
Activations: q(x) = saturate(round(x / scale) + zero_point), asymmetric, one scale per tensor.
Scales of weights are moved by last places in the end, see `whole_scales`.
Biases: int32 with scale_x · scale_w. Rounding is half to even throughout. This is the scheme of
Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference, 2017 (arXiv:1712.05877), section 2, in ONNX's operators.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import io, operators
from edgekiln.compiler.onnx_model.parts import functions_of_one_value
from edgekiln.compiler.onnx_model.recurrent_layers import is_steps
from edgekiln.compiler.onnx_model.rewriting import ModelFacts, facts_of
from edgekiln.compiler.quantization import (
    float_ends,
    limits,
    ort_quantizer,
    packed_states,
    recurrent_cells,
    recurrent_codes,
    spare_names,
)
from edgekiln.compiler.quantization.magnitude import in_magnitude
from edgekiln.compiler.quantization.ranges import Range
from edgekiln.compiler.quantization.rms_norms import rms_norms
from edgekiln.runtime.errors import ConfigError

if TYPE_CHECKING:
    import onnx

_DEAD = 1e-30  # a range this small leaves no room for float32 scales and their products


def quantized_nodes(model: "onnx.ModelProto", exclude: Sequence[str]) -> "list[onnx.NodeProto]":
    """The nodes that become integer: all that have an integer form and are not excluded.

    Args:
        exclude: shell patterns of node names that stay float, e.g. "blocks.0.*".

    Raises:
        ConfigError: a pattern that matches no node.
    """
    names = [node.name for node in model.graph.node]
    for pattern in exclude:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(
                f"quantize: exclude = {pattern!r} matches no operation",
                hint=f"operations are: {_some(names)}",
            )
    tail = {node.name for node in float_ends.float_tail(model)}
    facts = facts_of(model)
    cells = recurrent_cells.cells(facts, model.graph.node)
    stays = cells.nodes | packed_states.packing(model, cells.nodes)
    stays |= {name for norm in rms_norms(facts, list(model.graph.node)) for name in norm.nodes}
    found = [
        node
        for node in model.graph.node
        if operators.quantizable(node.op_type, node.domain)
        and node.name not in tail
        and node.name not in stays
        and not any(fnmatchcase(node.name, pattern) for pattern in exclude)
        and limits.obstacle(facts, node) is None
        and not limits.clips_away_zero(facts, node)
        and not limits.stays_enclosed(facts, node)
        and not in_magnitude(facts, node)
    ]
    return list(recurrent_codes.in_codes(facts, found))


def _some(names: Sequence[str]) -> str:
    """The first few; of foreign converters' endless names only the end, which tells them apart."""
    short = [name if len(name) <= 40 else f"…{name[-39:]}" for name in names]
    return ", ".join(short if len(short) <= 8 else [*short[:8], "…"])


def observed_tensors(nodes: "Iterable[onnx.NodeProto]", weights: Iterable[str]) -> list[str]:
    """Activations whose range is needed, each once: all inputs and outputs of quantized nodes."""
    constant = set(weights) | {""}
    tensors = (
        name
        for node in nodes
        for name in (
            recurrent_codes.observed(node) if is_steps(node) else (*node.input, *node.output)
        )
    )
    return list(dict.fromkeys(name for name in tensors if name not in constant))


def quantize(
    model: "onnx.ModelProto",
    nodes: "Sequence[onnx.NodeProto]",
    ranges: Mapping[str, Range],
    spared: Collection[str] = (),
) -> "onnx.ModelProto":
    """Insert the Q and DQ nodes and quantize the weights. Steps of recurrent layers stay float, see
    `recurrent_codes`.

    Args:
        model: as `prepare` leaves it; not changed.
        nodes: of it, to be quantized.
        ranges: lowest and highest real value of every tensor in `observed_tensors(nodes)`.
        spared: names of nodes that are float for the sake of accuracy.
    """
    import onnx

    source = onnx.ModelProto()
    source.CopyFrom(model)
    others = [node for node in nodes if not is_steps(node)]
    made = _quantized(model, source, others, ranges, spared) if others else source
    return _finish(made, model)


def _quantized(
    model: "onnx.ModelProto", source: "onnx.ModelProto", nodes: "Sequence[onnx.NodeProto]",
    ranges: Mapping[str, Range], spared: Collection[str],
) -> "onnx.ModelProto":  # fmt: skip
    """The same without the steps of recurrent layers, of which there are some: the quantizer takes
    an empty list for all nodes.

    Args:
        source: a copy of the model, which is changed.
    """
    from onnxruntime.quantization.calibrate import TensorData

    # Undone below: users name operations and tensors as their model has them.
    renamed = spare_names.spare(source)
    now = {old: new for new, old in renamed.items()}
    tensors = {
        now.get(name, name): TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in ((name, _usable(span)) for name, span in ranges.items())
    }
    logging.getLogger().addFilter(ort_quantizer.no_advice)
    try:
        quantizer = ort_quantizer.quantizer(source, [node.name for node in nodes], tensors)
        facts = facts_of(model)
        cells = recurrent_cells.cells(facts, model.graph.node)
        floats = float_ends.float_outputs(model) | cells.sums
        floats |= float_ends.read_as_floats(model, nodes, spared)
        floats |= _inside_functions(facts, nodes)
        floats -= _coded_states(model, nodes)
        quantizer.keep_float = frozenset(now.get(name, name) for name in floats)
        quantizer.quantize_model()
        # Its new nodes stand at the end of the list.
        quantizer.model.topological_sort()
    finally:
        logging.getLogger().removeFilter(ort_quantizer.no_advice)
    quantized: onnx.ModelProto = quantizer.model.model
    spare_names.rename(quantized, renamed)
    return quantized


def _inside_functions(facts: ModelFacts, nodes: "Iterable[onnx.NodeProto]") -> frozenset[str]:
    """What lies inside of functions of one value, and their numbers: a program computes each by one
    table, so that x·sigmoid(x) is rounded once, not twice.
    """
    inside: set[str] = set()
    for parts in functions_of_one_value(facts, {node.name for node in nodes}):
        own = {node.output[0] for node in parts.nodes}
        read = {name for node in parts.nodes for name in node.input} - {parts.x, ""}
        inside |= {n for n in read if all(each.output[0] in own for each in facts.readers[n])}
    return frozenset(inside)


def clipped(model: "onnx.ModelProto") -> frozenset[str]:
    """What a ReLU or a Clip makes, whose work codes may do that saturate where it does."""
    nodes = model.graph.node
    return frozenset(
        each.output[0]
        for each in nodes
        if operators.integer_form(each.op_type, each.domain) == "clip"
    )


def read_by_functions(
    model: "onnx.ModelProto", nodes: "Iterable[onnx.NodeProto]"
) -> frozenset[str]:
    """The tensors that only functions of one value read, of which each computes a number alone."""
    facts, names = facts_of(model), {node.name for node in nodes}
    readers: dict[str, set[str]] = {}
    for parts in functions_of_one_value(facts, names):
        readers.setdefault(parts.x, set()).update(node.name for node in parts.nodes)
    for node in model.graph.node:
        data = [name for name in node.input if name and name not in facts.constants]
        is_function = operators.unary(node.op_type, node.domain) and len(data) == 1
        if is_function and operators.integer_form(node.op_type, node.domain) != "clip":
            readers.setdefault(data[0], set()).add(node.name)
    return frozenset(
        name
        for name, functions in readers.items()
        if name not in facts.outputs and {node.name for node in facts.readers[name]} <= functions
    )


def _coded_states(model: "onnx.ModelProto", nodes: "Iterable[onnx.NodeProto]") -> frozenset[str]:
    """The outputs that the next call reads as codes: of states that quantized nodes alone read."""
    inside = {node.name for node in nodes}
    read = {name for node in model.graph.node if node.name not in inside for name in node.input}
    return frozenset(after for name, after in io.read_meta(model).states if name not in read)


def _usable(span: Range) -> Range:
    """The range of a dead tensor, always 0, made [0, 1].

    The quantizer would take scale 1 and zero point 0, and with the ReLU removed negative sums that
    the ReLU used to cut would come through.
    """
    low, high = span
    return (low, high) if high - low > _DEAD else (0.0, 1.0)


def _finish(quantized: "onnx.ModelProto", source: "onnx.ModelProto") -> "onnx.ModelProto":
    """The model without the quantizer's own marks, with ours, and only the operator domains in
    use.
    """
    import onnx

    meta = io.read_meta(source)
    used = {node.domain for node in quantized.graph.node}
    kept = [entry for entry in quantized.opset_import if entry.domain in used]
    del quantized.opset_import[:]
    quantized.opset_import.extend(kept)
    del quantized.metadata_props[:]
    # Types of before the quantization; they are inferred again where somebody needs them.
    del quantized.graph.value_info[:]
    io.write_meta(quantized, meta)
    quantized.producer_name, quantized.producer_version = "edgekiln", ""
    onnx.checker.check_model(quantized, full_check=True)
    return quantized
