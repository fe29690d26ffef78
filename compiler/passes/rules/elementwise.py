"""Sums, products and the like, clips, concatenations; any function of one value as a table."""

import numpy as np

from edgekiln.compiler.ir.codes import IntFinish, Table
from edgekiln.compiler.ir.moves import Concat, Requantize
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.ir.ops import Binary, BinaryFunction, Lookup
from edgekiln.compiler.ir.reference import evaluate
from edgekiln.compiler.ir.tensor import QMAX, QMIN, Tensor
from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.walk import OperatorEpilogue


def add(rw: Rewriter, node: Node) -> str | None:
    """A sum of two activations, or of one and a constant."""
    return _binary(rw, node, "add")


def mul(rw: Rewriter, node: Node) -> str | None:
    """A product of two activations, or of one and a constant."""
    return _binary(rw, node, "mul")


def div(rw: Rewriter, node: Node) -> str | None:
    """A quotient of two activations, or by one value a channel."""
    return _binary(rw, node, "div")


def larger(rw: Rewriter, node: Node) -> str | None:
    """The larger one of two values."""
    return _binary(rw, node, "max")


def smaller(rw: Rewriter, node: Node) -> str | None:
    """The smaller one of two values."""
    return _binary(rw, node, "min")


def prelu(rw: Rewriter, node: Node) -> str | None:
    """x, or where it is negative x times a slope, mostly one a channel."""
    return _binary(rw, node, "prelu")


def _binary(rw: Rewriter, node: Node, function: BinaryFunction) -> str | None:
    """Both inputs quantized, one may be constant; one may be broadcast over the image."""
    shape = rw.graph.tensors[node.name].shape
    if len(node.inputs) != 2:
        return f"it has {len(node.inputs)} operands, not two"
    a, b = (rw.operand(name, len(shape)) for name in node.inputs)
    if a is None or b is None:
        return "one of its inputs is not quantized"
    # The kernel broadcasts its second operand; all but these may be turned round.
    if a.elements < b.elements and function not in ("div", "prelu"):
        a, b = b, a
    if a.shape != shape or not broadcasts(a, b):
        return f"broadcasting {b.shape} to {shape} has no integer kernel"
    epilogue = rw.epilogue(node.name)
    if epilogue is None:
        return "its result is not quantized"
    rw.take(epilogue)
    op = Binary(function=function, finish=epilogue.finish)
    rw.make(op, (a.name, b.name), epilogue.output)
    return None


def broadcasts(a: Tensor, b: Tensor) -> bool:
    """Same shape, one number, or one value a channel (squeeze-excite), for each image or all."""
    rank = len(a.shape)
    channel = 1 if rank == 4 else rank - 1
    inner = {a.shape[1:], tuple(a.shape[i] if i == channel else 1 for i in range(1, rank))}
    return b.elements == 1 or (
        len(b.shape) == rank and b.shape[0] in (1, a.shape[0]) and b.shape[1:] in inner
    )


def clip(rw: Rewriter, node: Node) -> str | None:
    """A Relu or Clip that stands alone between DQ and Q."""
    x = rw.source(node.inputs[0])
    bounds = rw.clip_range(node)
    if x is None or bounds is None:
        return "its input is not quantized" if x is None else "its bounds are not constant"
    epilogue = rw.epilogue(node.name)
    if epilogue is None:
        return "its result is not quantized"
    rw.take(epilogue)
    low, high = (rw.code(bound, rw.graph.tensors[epilogue.output]) for bound in bounds)
    finish = IntFinish(qmin=int(low), qmax=int(high)).clipped(*_of_codes(epilogue).limits)
    rw.make(Requantize(finish=finish), (x.name,), epilogue.output)
    return None


def _of_codes(epilogue: OperatorEpilogue) -> IntFinish:
    """The finish of codes: of floats, clips became functions, and concatenations need none."""
    assert isinstance(epilogue.finish, IntFinish), epilogue.output
    return epilogue.finish


def concat(rw: Rewriter, node: Node) -> str | None:
    """Concat of quantized values, constants too (a class token); each is requantized to the
    result's parameters.
    """
    rank = len(rw.graph.tensors[node.name].shape)
    sources = [rw.operand(name, rank) for name in node.inputs]
    known = [source for source in sources if source is not None]
    if len(known) < len(sources):
        return "one of its inputs is not quantized"
    axis = onnx_op(node).integer("axis", 0) % rank
    inputs = tuple(source.name for source in known)
    # Equal parameters: codes are moved as they are, and need no quantization behind them.
    if len({(s.quant, s.dtype) for s in known}) == 1:
        rw.move(node, Concat(axis=axis), inputs)
        return None
    epilogue = rw.epilogue(node.name)
    if epilogue is None:
        return "its result is not quantized"
    rw.take(epilogue)
    rw.make(Concat(axis=axis, finish=_of_codes(epilogue)), inputs, epilogue.output)
    return None


def lookup(rw: Rewriter, q: Node) -> bool:
    """Replace the float operators before a QuantizeLinear by a table, if one code decides them.

    The operators stay in the graph until nobody needs them.
    """
    region = _unary_region(rw, q.inputs[0])
    if region is None:
        return False
    nodes, root = region
    x = rw.graph.tensors[rw.view[root]]
    assert x.quant is not None
    codes = np.arange(QMIN[x.dtype], QMAX[x.dtype] + 1)
    values = ((codes - x.quant.zero_point) * np.float32(x.quant.scale)).astype(np.float32)
    constants = {
        name: constant.reshape(-1) if constant.size == 1 else constant
        for node in nodes
        for name in node.inputs
        if name and (constant := rw.constant(name)) is not None
    }
    with np.errstate(all="ignore"):  # log(0) on codes that never occur
        # The 256 codes are one row; numbers of any rank were made (1,), so that the result is a
        # row, too.
        (result,) = evaluate(nodes, {**constants, root: values}, [q.inputs[0]], rw.graph.opset)
    quant, dtype = rw.scale(q), rw.quantized_dtype(q)
    with np.errstate(invalid="ignore"):
        steps = np.rint(result.astype(np.float32) / np.float32(quant.scale)) + quant.zero_point
    # NaN has no code; that of zero stands for it.
    entries = np.nan_to_num(steps, nan=quant.zero_point).clip(QMIN[dtype], QMAX[dtype])
    rw.make(Lookup(table=Table(entries=entries.astype(dtype))), (x.name,), q.name)
    return True


def _unary_region(rw: Rewriter, output: str) -> tuple[list[Node], str] | None:
    """The elementwise operators between one quantized value and `output`, and that value."""
    found: list[Node] = []
    roots: set[str] = set()
    stack, seen = [output], set()
    shape = rw.graph.tensors[output].shape
    while stack:
        name = stack.pop()
        if name in seen or not name:
            continue
        seen.add(name)
        constant = rw.constant(name)
        if constant is not None:
            if constant.size != 1:
                return None
        elif name in rw.view:
            roots.add(name)
        elif name in rw.made and operators.unary(rw.made[name].op.kind):
            if rw.graph.tensors[name].shape != shape:
                return None
            found.append(rw.made[name])
            stack.extend(rw.made[name].inputs)
        else:
            return None
    if len({rw.view[root] for root in roots}) != 1 or not found:
        return None
    root = min(roots)
    if rw.graph.tensors[root].shape != shape or len(roots) != 1:
        return None
    order = {node.name: i for i, node in enumerate(rw.nodes)}
    return sorted(found, key=lambda node: order[node.name]), root
