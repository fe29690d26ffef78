"""DQ → op → [activation] → Q becomes one integer operation.

What has no integer form stays an ONNX operator between dequantize and quantize, with the reason.
"""

from dataclasses import replace

import numpy as np

from edgekiln.compiler.ir.dynamic_ops import THEMSELVES, Recode
from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.moves import Requantize, Reshape
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import Onnx, is_onnx, onnx_op
from edgekiln.compiler.ir.ops import Dequantize, Quantize
from edgekiln.compiler.ir.rewrite import graph_pass, remove_unused, schedule
from edgekiln.compiler.ir.tensor import BYTES, QMIN, Tensor
from edgekiln.compiler.onnx_model.tflite.functions import DOMAIN
from edgekiln.compiler.passes import words
from edgekiln.compiler.passes.numbers import CodeNumbers
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules import lookups
from edgekiln.compiler.passes.rules.table import integer_rule, integer_rule_name
from edgekiln.compiler.passes.walk import QuantizedConstant, is_operator, signed_words

_OF_CODES = frozenset(
    "ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QuantizeLinear".split()
)


def is_quantized(graph: Graph) -> bool:
    """Whether a model quantizes or dequantizes anything, or computes with codes."""
    return any(
        is_onnx(node) and (onnx_op(node).domain == DOMAIN or onnx_op(node).op_type in _OF_CODES)
        for node in graph.nodes
    )


@graph_pass
def qdq_to_integer(graph: Graph) -> None:
    """Rewrite in place. Afterwards only "dequantize" and "quantize" join floats and integers."""
    if not is_quantized(graph):
        return
    rewriter = Rewriter(graph=graph, numbers=CodeNumbers())
    for node in graph.nodes:
        if node.name not in rewriter.absorbed:
            rewriter.reason = node.reason
            _visit(rewriter, node)
    _expose_codes(rewriter)
    _expose_floats(rewriter)
    graph.nodes = rewriter.nodes
    remove_unused(graph)


def _visit(rewriter: Rewriter, node: Node) -> None:
    if is_operator(node, "DequantizeLinear"):
        _dequantize(rewriter, node)
    elif is_operator(node, "QuantizeLinear") and rewriter.per_tensor(node):
        _quantize(rewriter, node)
    elif is_onnx(node):
        reason = _rewritten(rewriter, node)
        if reason is not None:
            rewriter.reason = node.reason or reason
            rewriter.emit(node)
    else:
        rewriter.emit(node)


def _rewritten(rewriter: Rewriter, node: Node) -> str | None:
    """Emit the integer form of an operator, or say why there is none."""
    rule, follows = integer_rule(node), rewriter.epilogue(node.name)
    has_words = words.has_words(rewriter, node, follows.dtype if follows else "")
    if has_words and integer_rule_name(node) not in words.RULES:
        return f"{node.op.kind} of codes of 16 bits has no integer kernel"
    return rule(rewriter, node) if rule else f"{node.op.kind} has no integer form"


def _dequantize(rewriter: Rewriter, node: Node) -> None:
    """A constant is kept as integers; an activation becomes a view of its integers."""
    graph = rewriter.graph
    name = node.inputs[0]
    if name in graph.constants and rewriter.known(node):
        values, scale = signed_words(graph.constants[name]), graph.constants[node.inputs[1]]
        zero = np.zeros(scale.size, graph.constants[name].dtype)
        if len(node.inputs) > 2 and node.inputs[2]:
            zero = graph.constants[node.inputs[2]]
        rewriter.weights[node.name] = QuantizedConstant(
            values=values,
            scale=scale.astype(np.float32).reshape(-1),
            zero_point=signed_words(zero).reshape(-1),
            axis=onnx_op(node).integer("axis", 1) % max(values.ndim, 1),
        )
        return
    source = graph.tensors.get(name)
    if source is None or not rewriter.per_tensor(node) or not _is_read(rewriter, source):
        rewriter.emit(node)
        return
    quant = rewriter.scale(node)
    alias = replace(source, name=f"{node.name}:int", quant=quant)
    if source.quant is None and name in graph.inputs:
        graph.put(replace(source, quant=quant))
    elif source.quant != quant:
        # The same bytes, read with other parameters; or those that an ONNX operator makes, which
        # knows no other type of byte.
        graph.put(alias)
        rewriter.make(Reshape() if source.quant else Recode(), (name,), alias.name)
        name = alias.name
    rewriter.view[node.name] = name


def _is_read(rewriter: Rewriter, source: Tensor) -> bool:
    """Whether a tensor's codes are what kernels read. Of 16 bits they come from ours alone."""
    ours = source.quant is not None or source.name in rewriter.graph.inputs
    return source.dtype in BYTES or (source.dtype in QMIN and ours)


def _quantize(rewriter: Rewriter, node: Node) -> None:
    graph = rewriter.graph
    quant, dtype = rewriter.scale(node), rewriter.quantized_dtype(node)
    source = rewriter.source(node.inputs[0])
    graph.put(replace(graph.tensors[node.name], quant=quant, dtype=dtype))
    if source is None:
        # Floats that one code decides become a table; all others are quantized when they are
        # there.
        if not lookups.lookup(rewriter, node):
            rewriter.make(Quantize(), node.inputs[:1], node.name)
        return
    same = source.quant == quant and source.dtype == dtype
    rewriter.make(Reshape() if same else Requantize(), (source.name,), node.name)


def _expose_codes(rewriter: Rewriter) -> None:
    """Give ONNX operators the bytes of codes that stand for themselves: what kernels of ours read
    may become the other type of byte.
    """
    graph, nodes = rewriter.graph, list(rewriter.nodes)
    for place, node in enumerate(nodes):
        if not is_onnx(node):
            continue
        names: dict[str, str] = {}
        for name in dict.fromkeys(node.inputs):
            tensor = graph.tensors.get(name)
            if tensor is None or tensor.quant != THEMSELVES or name in graph.constants:
                continue
            names[name] = f"{name}:bytes"
            if names[name] not in graph.tensors:
                graph.put(replace(tensor, name=names[name], quant=None))
                rewriter.make(Recode(), (name,), names[name])
        rewriter.nodes[place] = node.renamed(names)


def _expose_floats(rewriter: Rewriter) -> None:
    """Give float operators and outputs real floats where they use integers."""
    graph = rewriter.graph
    needed = [name for node in rewriter.nodes for name in node.inputs] + graph.outputs
    produced = {name for node in rewriter.nodes for name in node.outputs}
    dequantized: list[Node] = []
    # In order of their first use, so that equal models give equal graphs.
    for name in dict.fromkeys(needed):
        if name in produced:
            continue
        if name in rewriter.view:
            source = rewriter.view[name]
            dequantized.append(Node(op=Dequantize(), inputs=(source,), outputs=(name,)))
        elif name in rewriter.weights and name in graph.outputs:
            inner = f"{name}:constant"  # somebody has to write the output
            graph.constants[inner] = rewriter.weights[name].dequantized()
            dequantized.append(Node(op=Onnx(op_type="Identity"), inputs=(inner,), outputs=(name,)))
        elif name in rewriter.weights:
            graph.constants[name] = rewriter.weights[name].dequantized()
    # The new nodes stand at the end of the list, behind those who read them.
    rewriter.nodes = schedule(graph, rewriter.nodes + dequantized)
