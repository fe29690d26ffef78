"""A transposed convolution as a convolution: it has integer kernels on every target.

    y[o] = Σ x[i] · w[k]  over  i·s + k = o + p

With o + p = q·s + r and k = j·s + r this is, for each remainder r, a plain convolution over x at
stride 1:  Σ_j x[q − j] · w[j·s + r].  The s results of one q are s channels of one Conv; a
Reshape and a Transpose lay them side by side, and a Slice cuts off the padding:

    x (N, C, H, W) ─ Conv ─ (N, O·s·s, Q, Q) ─ (N, O, s, s, Q, Q) ─ (N, O, Q, s, Q, s) ─ Slice ─ y

Shi et al., Is the deconvolution layer the same as a convolutional layer?, 2016 (arXiv:1609.07009).
"""

from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.rewriting import ModelFacts, rewrite

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray


def conv_from_transposed(model: "onnx.ModelProto") -> int:
    """Rewrite each ConvTranspose with constant weights of a known image size.

    Returns:
        How many were rewritten.
    """
    return rewrite(model, _rule)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One spatial axis of the rewrite."""

    stride: int
    taps: int  # of the convolution: ⌈kernel / stride⌉
    before: int  # padding of the convolution
    after: int
    blocks: int  # results of the convolution
    start: int  # of the output, in pixels from the first block's
    extent: int  # of the output


def _rule(facts: ModelFacts, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
    if node.op_type != "ConvTranspose" or node.output[0] not in facts.floats:
        return None
    weight, bias = facts.constant(node, 1), facts.constant(node, 2)
    into, out = facts.fixed(node.input[0]), facts.fixed(node.output[0])
    given = operators.attributes(node)
    has_bias = len(node.input) > 2 and bool(node.input[2])
    if weight is None or into is None or out is None or (has_bias and bias is None):
        return None
    if len(into) not in (2, 3):
        return None
    weight = _dense(weight, given.get("dilations", [1] * (len(into) - 1)))
    axes = [axis_of(i, given, weight.shape[2:], into[1:], out[1:]) for i in range(len(into) - 1)]
    if any(axis.before >= axis.taps + into[1 + i] for i, axis in enumerate(axes)):
        return None
    return _nodes(facts, node, axes, phase_weights(weight, axes, given.get("group", 1)), bias)


def _dense(weight: "NDArray[np.generic]", dilations: list[int]) -> "NDArray[np.generic]":
    """Weights that do without dilation: zeros between the taps."""
    kernel = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    dense = np.zeros((*weight.shape[:2], *kernel), weight.dtype)
    dense[(slice(None), slice(None), *(slice(None, None, d) for d in dilations))] = weight
    return dense


def axis_of(
    i: int,
    given: dict[str, Any],  # attributes, as onnx reads them
    kernel: tuple[int, ...],
    into: tuple[int, ...],
    out: tuple[int, ...],
) -> Axis:
    """The i-th spatial axis; `into` and `out` are all sizes before and behind."""
    count = len(kernel)
    stride = given.get("strides", [1] * count)[i]
    extra = given.get("output_padding", [0] * count)[i]
    padding = given.get("pads", [0] * 2 * count)[i]
    auto = given.get("auto_pad", "NOTSET")
    # The specification of ConvTranspose: SAME_UPPER has the odd pixel at the end, all others at the
    # beginning. Only the beginning counts here, for the end follows from the extent of the output.
    if auto in ("SAME_UPPER", "SAME_LOWER") or "output_shape" in given:
        total = max(0, stride * (into[i] - 1) + extra + kernel[i] - out[i])
        padding = total // 2 if auto == "SAME_UPPER" else total - total // 2
    elif auto == "VALID":
        padding = 0
    # Blocks that lie in the padding as a whole are not computed; `start` cuts off the rest of it.
    taps = ceil(kernel[i] / stride)
    before = max(0, taps - 1 - padding // stride)
    first = taps - 1 - before  # the block that is the convolution's first result
    after = max(0, ceil((padding + out[i]) / stride) - into[i])
    return Axis(
        stride=stride, taps=taps, before=before, after=after,
        blocks=into[i] + before + after - taps + 1,
        start=padding - first * stride, extent=out[i],
    )  # fmt: skip


def phase_weights(
    weight: "NDArray[np.generic]", axes: list[Axis], groups: int
) -> "NDArray[np.generic]":
    """(C, OC/groups, K…) → (OC · strides, C/groups, taps…), the taps reversed."""
    channels, outputs, *kernel = weight.shape
    full = [axis.taps * axis.stride for axis in axes]
    # A kernel that is no multiple of the stride is filled up with taps of zero.
    padded = np.zeros((channels, outputs, *full), weight.dtype)
    padded[(slice(None), slice(None), *(slice(k) for k in kernel))] = weight
    split = [part for axis in axes for part in (axis.taps, axis.stride)]
    # (groups, C/groups, OC/groups, taps, stride, taps, stride)
    tiles = padded.reshape(groups, channels // groups, outputs, *split)
    taps = [3 + 2 * i for i in range(len(axes))]
    phases = [4 + 2 * i for i in range(len(axes))]
    # (groups, OC/groups, stride, stride, C/groups, taps, taps): the order that a Conv reads.
    moved = np.flip(tiles, tuple(taps)).transpose(0, 2, *phases, 1, *taps)
    rows = groups * outputs * prod(axis.stride for axis in axes)
    return np.ascontiguousarray(moved).reshape(rows, channels // groups, *(a.taps for a in axes))


def _nodes(
    facts: ModelFacts,
    node: "onnx.NodeProto",
    axes: list[Axis],
    weight: "NDArray[np.generic]",
    bias: "NDArray[np.generic] | None",
) -> "list[onnx.NodeProto]":
    import onnx

    result = node.output[0]
    phases = prod(axis.stride for axis in axes)
    outputs, count = len(weight) // phases, len(axes)
    moves: list[tuple[str, list[str], dict[str, Any]]] = []  # operator, operands, attributes
    if phases > 1:
        strides, blocks = [a.stride for a in axes], [a.blocks for a in axes]
        apart = facts.add(f"{result}.apart", np.array([-1, outputs, *strides, *blocks]))
        pairs = [place for i in range(count) for place in (2 + count + i, 2 + i)]  # Q, s, Q, s
        sizes = [axis.blocks * axis.stride for axis in axes]
        together = facts.add(f"{result}.together", np.array([-1, outputs, *sizes]))
        moves += [
            ("Reshape", [apart], {}),
            ("Transpose", [], {"perm": [0, 1, *pairs]}),
            ("Reshape", [together], {}),
        ]
    if any((a.start, a.extent) != (0, a.blocks * a.stride) for a in axes):
        bounds = [
            facts.add(f"{result}.{what}", np.array(values))
            for what, values in (
                ("starts", [axis.start for axis in axes]),
                ("ends", [axis.start + axis.extent for axis in axes]),
                ("axes", list(range(2, 2 + count))),
            )
        ]
        moves.append(("Slice", bounds, {}))
    operands = [node.input[0], facts.add(f"{result}.weight", weight)]
    if bias is not None:
        # The phases of a channel lie side by side among the Conv's channels.
        operands.append(facts.add(f"{result}.bias", np.repeat(bias, phases)))
    window: dict[str, Any] = {  # keyword arguments of `make_node`
        "kernel_shape": [axis.taps for axis in axes],
        "pads": [*(axis.before for axis in axes), *(axis.after for axis in axes)],
        "group": next((a.i for a in node.attribute if a.name == "group"), 1),
    }
    made = result if not moves else facts.free(f"{result}.blocks")
    nodes = [onnx.helper.make_node("Conv", operands, [made], name=node.name, **window)]
    for i, (op, inputs, given) in enumerate(moves):
        name = result if i == len(moves) - 1 else facts.free(f"{result}.{op.lower()}")
        label = f"{node.name}.{i}" if node.name else ""
        nodes.append(onnx.helper.make_node(op, [made, *inputs], [name], name=label, **given))
        made = name
    return nodes
