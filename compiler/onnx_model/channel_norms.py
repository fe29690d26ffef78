"""Normalizations channel by channel or group by group, in those of rows and in convolutions."""

import math
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import NodeWriter
from edgekiln.compiler.onnx_model.operator_row import MAX_LAYER_NORM_ROW
from edgekiln.compiler.onnx_model.rewriting import ModelFacts

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.rewriting import Constant

    Nodes = list[onnx.NodeProto] | None

LAYER_NORM_OPSET = 17  # the operator set since which there is a LayerNormalization

_ONE_A_CHANNEL = 21  # since this operator set; until then slopes and offsets are one a group
_GROUP_NORM = """
    rest = Constant <value_ints = [-1]> ()
    group_count = Constant <value_int: int = @num_groups> ()
    groups = Reshape (group_count, rest)
    batch = Constant <value_ints = [0]> ()
    by_groups = Concat <axis = 0> (batch, groups, rest)
    rows = Reshape (x, by_groups)
    one_number = Constant <value_float = 1.0> ()
    no_number = Constant <value_float = 0.0> ()
    one = CastLike (one_number, x)
    none = CastLike (no_number, x)
    ones = Expand (one, groups)
    nones = Expand (none, groups)
    normal = InstanceNormalization <epsilon: float = @epsilon> (rows, ones, nones)
    shape = Shape (x)
    image = Reshape (normal, shape)
    {slopes}
    each = Shape (slope)
    mean = Expand (none, each)
    variance = Expand (one, each)
    y = BatchNormalization <epsilon = 0.0> (image, slope, offset, mean, variance)
"""
_OF_CHANNELS = """
    slope = Identity (scale)
    offset = Identity (bias)
"""
_OF_GROUPS = """
    channels = Shape <start = 1, end = 2> (x)
    members = Div (channels, groups)
    of_all = Concat <axis = 0> (groups, members)
    one_column = Constant <value_ints = [1]> ()
    in_column = Concat <axis = 0> (groups, one_column)
    slope_column = Reshape (scale, in_column)
    offset_column = Reshape (bias, in_column)
    slopes = Expand (slope_column, of_all)
    offsets = Expand (offset_column, of_all)
    slope = Reshape (slopes, rest)
    offset = Reshape (offsets, rest)
"""


def group_norm(opset: int) -> "onnx.FunctionProto":
    """The definition of GroupNormalization by operators that have kernels and integer forms.

    ONNX's own computes means and deviations step by step.
    """
    import onnx

    slopes = _OF_CHANNELS if opset >= _ONE_A_CHANNEL else _OF_GROUPS
    return onnx.parser.parse_function(
        f'<opset_import: ["" : {opset}], domain: "norms"> '
        "GroupNormalization <epsilon, num_groups> (x, scale, bias) => (y) "
        f"{{{_GROUP_NORM.format(slopes=slopes)}}}"
    )


def instance_norm(facts: ModelFacts, node: "onnx.NodeProto") -> "Nodes":
    """Each channel is a row to be normalized; then its own slope and offset."""
    fixed = facts.fixed(node.input[0])
    gamma, beta = facts.constant(node, 1), facts.constant(node, 2)
    if node.output[0] not in facts.floats:
        return None
    if fixed is None or len(fixed) < 2 or gamma is None or beta is None:
        return None
    row = math.prod(fixed[1:])
    if facts.opset < LAYER_NORM_OPSET or row > MAX_LAYER_NORM_ROW:
        return None
    w = NodeWriter(facts=facts, node=node)
    epsilon = operators.attributes(node).get("epsilon", 1e-5)
    rows = w.op("Reshape", node.input[0], w.numbers(-1, fixed[0], row))
    # Its own scale runs along the row, where an InstanceNormalization has one for the whole row.
    ones, zeros = (w.constant(np.full(row, value, np.float32)) for value in (1, 0))
    plain = bool((gamma == 1).all() and (beta == 0).all())
    normal = w.op("LayerNormalization", rows, ones, zeros, axis=-1, epsilon=epsilon)
    shape = w.numbers(-1, *fixed)
    image = w.op("Reshape", normal, shape, result=node.output[0] if plain else "")
    if not plain:
        scaled(w, image, fixed, gamma, beta)
    return w.nodes


def scaled(
    w: NodeWriter, source: str, fixed: tuple[int, ...], slope: "Constant", offset: "Constant"
) -> None:
    """The result: slope · x + offset of each channel, a convolution with one tap a channel.

    Args:
        fixed: extents of the source and the result behind the batch.
    """
    is_image = len(fixed) in (2, 3)  # with one or two axes behind the channels
    if not is_image:
        source = w.op("Reshape", source, w.numbers(-1, fixed[0], math.prod(fixed[1:]), 1))
    taps = [1] * (len(fixed) - 1 if is_image else 2)
    weight = w.constant(slope.astype(np.float32).reshape(-1, 1, *taps))
    bias = w.constant(offset.astype(np.float32))
    result = w.node.output[0]
    image = w.op(
        "Conv", source, weight, bias, result=result if is_image else "", group=len(slope),
        kernel_shape=taps,
    )  # fmt: skip
    if not is_image:
        w.op("Reshape", image, w.numbers(-1, *fixed), result=result)
