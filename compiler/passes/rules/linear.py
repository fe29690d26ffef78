"""Convolution and dense layers, and products of activations.

Codes: int8 weights, int32 sums, requantized or dequantized. Floats: float32 all along.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.linear import Conv2d, Dense, MatMul
from edgekiln.compiler.ir.moves import Pad, Reshape
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.onnx_op import onnx_op
from edgekiln.compiler.ir.tensor import WORD, Tensor
from edgekiln.compiler.ir.window import Window
from edgekiln.compiler.passes.numbers import Weights
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules.window import four, pads, pair, strides_and_dilations
from edgekiln.compiler.passes.walk import is_operator


def conv(rw: Rewriter, node: Node) -> str | None:
    """Conv of rank 3 or 4 with constant weights (OC, IC/groups, KH, KW)."""
    x, op = rw.source(node.inputs[0]), onnx_op(node)
    if x is None:
        return "its input is not quantized"
    if len(x.shape) not in (3, 4):
        return f"convolution over {len(x.shape) - 2} axes has no {rw.numbers.kernel}"
    weights = rw.numbers.weights(rw, node.inputs[1], out_axis=0)
    if isinstance(weights, str):
        return weights
    channels, per_group, *kernel = weights.values.shape
    bias = rw.numbers.bias(rw, "".join(node.inputs[2:3]), x, weights, channels)
    if isinstance(bias, str):
        return bias
    strides, dilations = strides_and_dilations(op, len(kernel))
    padding = pads(op, x.shape[2:], rw.graph.tensors[node.name].shape[2:], kernel)
    window = Window(
        kernel=pair(kernel), strides=pair(strides), dilations=pair(dilations), pads=four(padding)
    )
    # A sequence is an image of one row: no kernel needs to know of it.
    x = x if len(x.shape) == 4 else _as_image(rw, x)
    x, window = _absorb_pad(rw, x, window)
    image = replace(weights, values=weights.values.reshape(channels, per_group, *window.kernel))
    convolve(rw, node, x, image, bias, window, op.integer("group", 1))
    return None


def convolve(
    rw: Rewriter,
    node: Node,
    x: Tensor,
    weights: Weights,
    bias: NDArray[np.generic],
    window: Window,
    groups: int,
) -> None:
    """Emit a convolution, whose result over (N, C, W) is made as (N, C, 1, W)."""
    epilogue = rw.epilogue(node.name) or rw.unquantized(node.name)
    rw.take(epilogue)
    op = Conv2d(
        weight=weights.values,
        bias=bias,
        mult=rw.numbers.multiplier(x, weights, epilogue.quant),
        finish=epilogue.finish,
        window=window,
        groups=groups,
    )
    result = rw.graph.tensors[epilogue.output]
    if len(result.shape) == 4:
        rw.make(op, (x.name,), result.name)
        return
    n, c, w = result.shape
    image = rw.graph.put(replace(result, name=f"{result.name}:image", shape=(n, c, 1, w)))
    rw.make(op, (x.name,), image.name)
    rw.make(Reshape(), (image.name,), result.name)


def gemm(rw: Rewriter, node: Node) -> str | None:
    """Gemm with a constant B. Of codes, alpha = beta = 1; of floats, they go into the constants."""
    op = onnx_op(node)
    alpha, beta = op.real("alpha", 1.0), op.real("beta", 1.0)
    if rw.numbers.has_codes and (alpha, beta) != (1.0, 1.0):
        return "alpha or beta is not 1"
    if op.integer("transA", 0):
        return f"transA has no {rw.numbers.kernel}"
    bias = "".join(node.inputs[2:3])
    return _dense(rw, node, bool(op.integer("transB", 0)), bias, (alpha, beta))


def matmul(rw: Rewriter, node: Node) -> str | None:
    """MatMul: with a constant matrix on the right a dense layer, else a product of activations."""
    weight = rw.constant(node.inputs[1])
    if weight is None or weight.ndim > 2 or (weight.ndim < 2 and not rw.numbers.has_codes):
        return _product(rw, node)
    # A constant in floats beside codes is no weight of theirs.
    if rw.numbers.has_codes and node.inputs[1] not in rw.weights:
        return _product(rw, node)
    add, bias = _bias_behind(rw, node, weight)
    if add is None:
        return _dense(rw, node, False, "")
    reason = _dense(rw, replace(node, outputs=add.outputs), False, bias)
    if reason is None:
        rw.absorbed.add(add.name)
    return reason


def _bias_behind(rw: Rewriter, node: Node, weight: NDArray[np.generic]) -> tuple[Node | None, str]:
    """The Add of a constant, one number a channel, that alone uses a product of floats; and that
    constant. A quantized product has its bias as another quantized sum.
    """
    user = rw.only_user(node.name)
    if rw.numbers.has_codes or user is None or not is_operator(user, "Add"):
        return None, ""
    constants = [name for name in user.inputs if name in rw.graph.constants]
    if constants and rw.graph.constants[constants[0]].shape == weight.shape[1:]:
        return user, constants[0]
    return None, ""


def _product(rw: Rewriter, node: Node) -> str | None:
    """(…, M, K) by (…, K, N), one scale each; a following scalar factor joins the multiplier."""
    shape = rw.graph.tensors[node.name].shape
    a, b = (rw.operand(name, len(shape)) for name in node.inputs)
    if a is None or b is None:
        return "one of its inputs is not quantized"
    if WORD in (a.dtype, b.dtype):
        return "a product of two activations, one of 16 bits, has no integer kernel"
    # No operand is broadcast along axes that it lacks: kernels have as many loops for both.
    if not len(a.shape) == len(b.shape) == len(shape) >= 2:
        return f"a product of shapes {a.shape} and {b.shape} has no {rw.numbers.kernel}"
    factor, output, factors = _scalar_factor(rw, node.name)
    epilogue = rw.epilogue(output)
    # Nobody quantizes it: the factor stays an operator on floats.
    if epilogue is None:
        epilogue, factor, factors = rw.unquantized(node.name), np.float32(1), []
    rw.take(epilogue)
    rw.absorbed.update(factors)
    mult = None
    if a.quant is not None and b.quant is not None:
        mult = np.float32(a.quant.scale) * np.float32(b.quant.scale) * factor
        mult = mult if epilogue.quant is None else mult / np.float32(epilogue.quant.scale)
    rw.make(MatMul(mult=mult, finish=epilogue.finish), (a.name, b.name), epilogue.output)
    return None


def _scalar_factor(rw: Rewriter, name: str) -> tuple[np.float32, str, list[str]]:
    """The product of the Mul and Div by one constant that alone use a value, what they make, and
    who they are: 1/√d in attention. Of floats they become a function.
    """
    factor, found = np.float32(1), []
    while rw.numbers.has_codes and (user := rw.only_user(name)) is not None:
        others = [other for other in user.inputs if other != name]
        value = rw.constant(others[0]) if len(others) == 1 else None
        if value is None or value.size != 1:
            break
        scalar = np.float32(value.reshape(-1)[0])
        if is_operator(user, "Mul"):
            factor *= scalar
        elif is_operator(user, "Div") and user.inputs[0] == name:
            factor /= scalar
        else:
            break
        name = user.name
        found.append(name)
    return factor, name, found


def _dense(
    rw: Rewriter,
    node: Node,
    transposed: bool,
    bias_name: str,
    factors: tuple[float, float] = (1.0, 1.0),
) -> str | None:
    """Args: factors: of the weights and of the bias."""
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    if node.inputs[1] in rw.view:
        return "its right operand is no constant"
    weights = rw.numbers.weights(rw, node.inputs[1], out_axis=0 if transposed else -1)
    if isinstance(weights, str):
        return weights
    if weights.values.ndim != 2:
        return f"its constant operand has rank {weights.values.ndim}"
    # Dense layers have their weights as (outputs, inputs), as Gemm with transB has them.
    values = weights.values if transposed else weights.values.T.copy()
    bias = _row_bias(rw, bias_name, x, weights, len(values))
    if isinstance(bias, str):
        return bias
    if not rw.numbers.has_codes:
        values = np.asarray(values, np.float32) * np.float32(factors[0])
        bias = np.asarray(bias, np.float32) * np.float32(factors[1])
    epilogue = rw.epilogue(node.name) or rw.unquantized(node.name)
    rw.take(epilogue)
    mult = rw.numbers.multiplier(x, weights, epilogue.quant)
    op = Dense(weight=values, bias=bias, mult=mult, finish=epilogue.finish)
    rw.make(op, (x.name,), epilogue.output)
    return None


def _row_bias(
    rw: Rewriter, name: str, x: Tensor, weights: Weights, channels: int
) -> NDArray[np.generic] | str:
    """A Gemm's third operand, which may be broadcast."""
    value = rw.constant(name) if name else None
    if value is not None and (
        value.size not in (1, channels) or value.shape[-1:] not in ((), (1,), (channels,))
    ):
        return "its bias differs from row to row"
    return rw.numbers.bias(rw, name, x, weights, channels)


def _as_image(rw: Rewriter, x: Tensor) -> Tensor:
    """(N, C, W) seen as (N, C, 1, W)."""
    name = f"{x.name}:image"
    if name not in rw.graph.tensors:
        n, c, w = x.shape
        rw.graph.put(Tensor(name=name, shape=(n, c, 1, w), dtype=x.dtype, quant=x.quant))
        rw.make(Reshape(), (x.name,), name)
    return rw.graph.tensors[name]


def _absorb_pad(rw: Rewriter, x: Tensor, window: Window) -> tuple[Tensor, Window]:
    """A Pad with zeros before a convolution is more padding of the convolution."""
    made = rw.made.get(x.name)
    if made is None or not isinstance(made.op, Pad):
        return x, window
    pad = made.op
    spatial_only = len(pad.before) == 4 and not any((*pad.before[:2], *pad.after[:2]))
    # Borders are of the zero point: another fill, or one of channels, is none.
    if not spatial_only or pad.fill.value != rw.code(0.0, x):
        return x, window
    extra = (*pad.before[2:], *pad.after[2:])
    wider = four([p + e for p, e in zip(window.pads, extra, strict=True)])
    return rw.graph.tensors[made.inputs[0]], replace(window, pads=wider)
