"""Convolution and dense layers: int8 weights, int32 accumulation, requantized or dequantized."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgekiln.compiler.ir.graph import Node, Tensor
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules.window import pads, strides_and_dilations

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def conv(rw: Rewriter, node: Node) -> str | None:
    """Conv of rank 3 or 4 with constant int8 weights (OC, IC/groups, KH, KW)."""
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    if len(x.shape) not in (3, 4):
        return f"convolution over {len(x.shape) - 2} axes has no integer kernel"
    weight = _weights(rw, node.inputs[1], out_axis=0)
    if isinstance(weight, str):
        return weight
    values, scale = weight
    x, attrs = window(rw, node, x, values)
    return _emit(rw, node, x, attrs, scale, bias=node.inputs[2:3])


def window(
    rw: Rewriter, node: Node, x: Tensor, weight: "NDArray[np.generic]"
) -> tuple[Tensor, dict[str, Any]]:
    """A Conv's input as an image, and what a conv2d says about its window."""
    kernel = weight.shape[2:]
    strides, dilations = strides_and_dilations(node, len(kernel))
    padding = pads(node, x.shape[2:], rw.graph.tensors[node.name].shape[2:], kernel)
    attrs: dict[str, Any] = {
        "weight": weight,
        "kernel": kernel,
        "strides": strides,
        "dilations": dilations,
        "pads": padding,
        "groups": node.attrs.get("group", 1),
    }
    if len(kernel) == 1:
        x = _as_image(rw, x)
        for key, neutral in (("kernel", 1), ("strides", 1), ("dilations", 1)):
            attrs[key] = (neutral, *attrs[key])
        attrs["pads"] = (0, padding[0], 0, padding[1])
        attrs["weight"] = weight[:, :, None, :]
    x, attrs["pads"] = _absorb_pad(rw, x, attrs["pads"])
    return x, attrs


def gemm(rw: Rewriter, node: Node) -> str | None:
    """Gemm with alpha = beta = 1 and a constant B."""
    if node.attrs.get("alpha", 1.0) != 1.0 or node.attrs.get("beta", 1.0) != 1.0:
        return "alpha or beta is not 1"
    if node.attrs.get("transA", 0):
        return "transA has no integer kernel"
    return _dense(rw, node, bool(node.attrs.get("transB", 0)), node.inputs[2:3])


def matmul(rw: Rewriter, node: Node) -> str | None:
    """MatMul: with a constant matrix on the right a dense layer, else a product of activations."""
    weight = rw.weights.get(node.inputs[1])
    if weight is None or weight.values.ndim > 2:
        return _product(rw, node)
    return _dense(rw, node, False, ())


def _product(rw: Rewriter, node: Node) -> str | None:
    """(…, M, K) by (…, K, N), one scale each; a following scalar factor joins the multiplier."""
    import numpy as np

    shape = rw.graph.tensors[node.name].shape
    a, b = (rw.operand(name, len(shape)) for name in node.inputs)
    if a is None or b is None or a.quant is None or b.quant is None:
        return "one of its inputs is not quantized"
    if not len(a.shape) == len(b.shape) == len(shape) >= 2:
        return f"a product of shapes {a.shape} and {b.shape} has no integer kernel"
    product = np.float32(a.quant.scale) * np.float32(b.quant.scale)
    factor, output, factors = _scalar_factor(rw, node.name)
    epilogue = rw.epilogue(output)
    if epilogue is None:
        attrs: dict[str, Any] = {"mult": product}
        rw.emit(Node(op="matmul", inputs=(a.name, b.name), outputs=node.outputs, attrs=attrs))
        return None
    assert epilogue.quant is not None
    rw.take(epilogue)
    rw.absorbed.update(factors)
    attrs = {
        "mult": product * factor / np.float32(epilogue.quant.scale),
        "lo": epilogue.lo,
        "hi": epilogue.hi,
    }
    outputs = (epilogue.output,)
    rw.emit(Node(op="matmul", inputs=(a.name, b.name), outputs=outputs, attrs=attrs))
    return None


def _scalar_factor(rw: Rewriter, name: str) -> "tuple[np.float32, str, list[str]]":
    """The product of the Mul and Div by one constant that alone use a value, what they make, and
    who they are: 1/√d in attention.
    """
    import numpy as np

    factor, found = np.float32(1), []
    while name not in rw.graph.outputs and len(rw.users.get(name, ())) == 1:
        (user,) = rw.users[name]
        others = [other for other in user.inputs if other != name]
        value = rw.constant(others[0]) if len(others) == 1 else None
        if value is None or value.size != 1:
            break
        scalar = np.float32(value.reshape(-1)[0])
        if user.op == "Mul":
            factor *= scalar
        elif user.op == "Div" and user.inputs[0] == name:
            factor /= scalar
        else:
            break
        name = user.name
        found.append(name)
    return factor, name, found


def _dense(rw: Rewriter, node: Node, transposed: bool, bias: tuple[str, ...]) -> str | None:
    x = rw.source(node.inputs[0])
    if x is None:
        return "its input is not quantized"
    if rw.source(node.inputs[1]) is not None:
        return "its right operand is no constant"
    weight = _weights(rw, node.inputs[1], out_axis=0 if transposed else -1)
    if isinstance(weight, str):
        return weight
    values, scale = weight
    if values.ndim != 2:
        return f"its constant operand has rank {values.ndim}"
    if bias and bias[0] and (value := rw.constant(bias[0])) is not None:
        out_channels = values.shape[0 if transposed else 1]
        if value.size not in (1, out_channels) or value.shape[-1:] not in ((1,), (out_channels,)):
            return "its bias differs from row to row"
    attrs = {"weight": values if transposed else values.T.copy()}
    return _emit(rw, node, x, attrs, scale, bias=bias)


def _weights(
    rw: Rewriter, name: str, out_axis: int
) -> "tuple[NDArray[np.int8], NDArray[np.float32]] | str":
    """int8 values and per-output-channel scales, or why they are not usable."""
    import numpy as np

    weight = rw.weights.get(name)
    if weight is None:
        return "its weights are not quantized constants"
    if weight.values.dtype not in (np.int8, np.uint8):
        return f"its weights are {weight.values.dtype}"
    if weight.scale.size > 1 and weight.axis != out_axis % weight.values.ndim:
        return "its weight scales do not run along the output channels"
    shape = [1] * weight.values.ndim
    shape[out_axis] = -1
    centred = weight.values.astype(np.int32) - weight.zero_point.astype(np.int32).reshape(shape)
    if centred.min(initial=0) < -128 or centred.max(initial=0) > 127:
        return "its asymmetric weights do not fit int8"
    channels = weight.values.shape[out_axis]
    return centred.astype(np.int8), np.broadcast_to(weight.scale, channels)


def _emit(
    rw: Rewriter,
    node: Node,
    x: Tensor,
    attrs: dict[str, Any],
    weight_scale: "NDArray[np.float32]",
    *,
    bias: tuple[str, ...],
) -> str | None:
    """ONNX Runtime's own arithmetic (QLinearConv): multiplier = (s_x · s_w) / s_y, in float32."""
    import numpy as np

    assert x.quant is not None
    product = np.float32(x.quant.scale) * weight_scale
    attrs["bias"] = np.zeros(weight_scale.size, np.int32)
    if bias and bias[0]:
        value = rw.constant(bias[0])
        if value is None:
            return "its bias is not constant"
        stored = rw.weights.get(bias[0])
        steps = value.astype(np.float64).reshape(-1) / product.astype(np.float64)
        if stored is not None and np.allclose(stored.scale, product, rtol=1e-5, atol=0):
            steps = stored.values.astype(np.float64).reshape(-1)
        limit = np.iinfo(np.int32)
        attrs["bias"] = np.broadcast_to(
            np.rint(steps).clip(limit.min, limit.max).astype(np.int32), weight_scale.size
        )
    epilogue = rw.epilogue(node.name)
    if epilogue is None:
        attrs["mult"] = product.astype(np.float32)
        emit_linear(rw, node.name, x, attrs)
        return None
    assert epilogue.quant is not None
    attrs |= {"lo": epilogue.lo, "hi": epilogue.hi}
    attrs["mult"] = (product / np.float32(epilogue.quant.scale)).astype(np.float32)
    rw.take(epilogue)
    emit_linear(rw, epilogue.output, x, attrs)
    return None


def emit_linear(rw: Rewriter, output: str, x: Tensor, attrs: dict[str, Any]) -> None:
    """A dense layer, or a convolution, whose result over (N, C, W) is made as (N, C, 1, W)."""
    result = rw.graph.tensors[output]
    if "kernel" not in attrs:
        rw.emit(Node(op="dense", inputs=(x.name,), outputs=(output,), attrs=attrs))
    elif len(result.shape) == 4:
        rw.emit(Node(op="conv2d", inputs=(x.name,), outputs=(output,), attrs=attrs))
    else:
        n, c, w = result.shape
        image = replace(result, name=f"{output}:image", shape=(n, c, 1, w))
        rw.graph.tensors[image.name] = image
        rw.emit(Node(op="conv2d", inputs=(x.name,), outputs=(image.name,), attrs=attrs))
        rw.emit(Node(op="reshape", inputs=(image.name,), outputs=(output,)))


def _as_image(rw: Rewriter, x: Tensor) -> Tensor:
    """(N, C, W) seen as (N, C, 1, W)."""
    name = f"{x.name}:image"
    if name not in rw.graph.tensors:
        n, c, w = x.shape
        rw.graph.tensors[name] = Tensor(name=name, shape=(n, c, 1, w), dtype=x.dtype, quant=x.quant)
        rw.emit(Node(op="reshape", inputs=(x.name,), outputs=(name,)))
    return rw.graph.tensors[name]


def _absorb_pad(
    rw: Rewriter, x: Tensor, padding: tuple[int, ...]
) -> tuple[Tensor, tuple[int, ...]]:
    """A Pad with zeros before a convolution is more padding of the convolution."""
    pad = rw.made.get(x.name)
    if pad is None or pad.op != "pad":
        return x, padding
    before, after = pad.attrs["before"], pad.attrs["after"]
    spatial_only = len(before) == 4 and not any(before[:2]) and not any(after[:2])
    if not spatial_only or min(before + after) < 0 or pad.attrs["value"] != rw.code(0.0, x):
        return x, padding
    extra = (*before[2:], *after[2:])
    source = rw.graph.tensors[pad.inputs[0]]
    return source, tuple(p + e for p, e in zip(padding, extra, strict=True))
