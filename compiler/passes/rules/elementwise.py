"""Sums, products and the like, clips, concatenations."""

from edgekiln.compiler.ir.codes import IntFinish
from edgekiln.compiler.ir.moves import Concat, Requantize
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.ir.ops import Binary, BinaryFunction
from edgekiln.compiler.ir.tensor import WORD, Tensor
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.walk import OperatorEpilogue
from edgekiln.compiler.passes.words import widened


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
    if WORD in (a.dtype, b.dtype):
        a, b = (_wide(rw, each) for each in (a, b))
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


def _wide(rw: Rewriter, x: Tensor) -> Tensor:
    """An operand as codes of 16 bits, for kernels take two of one type."""
    made, wide = widened(rw, x)
    if made is not None:
        rw.emit(made)
    return wide


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
