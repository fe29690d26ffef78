"""Col2Im: patches laid back where they were cut out, as a sum at constant places."""

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import NodeWriter

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts

MOST_VALUES = 1 << 20  # of the patches: each has its place in a constant


def image_of(facts: "ModelFacts", node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
    """(N, C · values of a block, blocks) → (N, C, image); None for extents that are computed."""
    x, image, block = (
        facts.static(node.input[0]), facts.constant(node, 1), facts.constant(node, 2),
    )  # fmt: skip
    if not x or image is None or block is None or prod(x) > MOST_VALUES:
        return None
    extents, kernel = [int(n) for n in image], [int(n) for n in block]
    given, ones = operators.attributes(node), [1] * len(extents)
    pads = given.get("pads", [0] * 2 * len(extents))
    places = _places(
        extents, kernel, given.get("strides", ones), given.get("dilations", ones), pads
    )
    channels = x[1] // prod(kernel)
    # Else the blocks do not fit the image, and the operator stays what it is.
    if places.size * channels != x[1] * x[2]:
        return None
    w = NodeWriter(facts=facts, node=node)
    whole = (x[0], channels, places.size)
    patches = w.op("Reshape", node.input[0], w.numbers(*whole))
    # What lies in the padding is added to a place of its own, which is cut off.
    empty = np.zeros((*whole[:2], prod(extents) + 1), facts.dtypes[node.input[0]])
    where = w.constant(np.broadcast_to(places.reshape(-1), whole).copy())
    summed = w.op("ScatterElements", w.constant(empty), where, patches, axis=2, reduction="add")
    cut = w.op("Slice", summed, w.numbers(0), w.numbers(prod(extents)), w.numbers(2))
    w.op("Reshape", cut, w.numbers(*whole[:2], *extents), result=node.output[0])
    return w.nodes


def _places(
    extents: list[int], kernel: list[int], strides: list[int], dilations: list[int], pads: list[int]
) -> "NDArray[np.int64]":
    """(values of a block, blocks): the place of each in the flat image, behind it in padding."""
    axes = []
    for i, extent in enumerate(extents):
        reach = dilations[i] * (kernel[i] - 1) + 1
        blocks = (extent + pads[i] + pads[i + len(extents)] - reach) // strides[i] + 1
        begins = np.arange(blocks) * strides[i] - pads[i]
        axes.append(np.arange(kernel[i])[:, None] * dilations[i] + begins)  # (taps, blocks)
    # Axis by axis, the last one fastest: rows are the taps so far, columns the blocks.
    place, inside = np.zeros((1, 1), np.int64), np.ones((1, 1), bool)
    for axis, extent in zip(axes, extents, strict=True):
        taps, blocks = axis.shape
        rows, columns = place.shape
        spread = axis[None, :, None, :]
        place = (place[:, None, :, None] * extent + spread).reshape(rows * taps, columns * blocks)
        within = (spread >= 0) & (spread < extent)
        inside = (inside[:, None, :, None] & within).reshape(rows * taps, columns * blocks)
    return np.where(inside, place, prod(extents))
