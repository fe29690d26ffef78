"""RoiAlign of half pixels, in the words that TVM reads as ONNX does.

TVM moves corners by half a pixel before it scales them, ONNX afterwards. And where the number of
samples follows the size of a box, TVM leaves the result of a box without a size as memory had it,
where ONNX Runtime's is 0.
"""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.node_writer import NodeWriter, node_of

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts

    Nodes = list[onnx.NodeProto] | None

_HALF_PIXELS = 16  # the default since this operator set; before, there is nothing else than whole
_BOX = np.array([0, 0, 1, 1])  # of a size, in the place of one that has none


def roi_align(facts: "ModelFacts", node: "onnx.NodeProto") -> "Nodes":
    """Boxes are scaled beforehand; the result of a box without a size is 0."""
    given = operators.attributes(node)
    dtype = facts.dtypes.get(node.input[1], "")
    if _mode(facts, given) != "half_pixel" or not dtype:
        return None
    scale = given.get("spatial_scale", 1.0)
    by_size = given.get("sampling_ratio", 0) == 0 and not _have_sizes(facts, node.input[1], scale)
    if scale == 1 and not by_size:
        return None
    w = NodeWriter(facts=facts, node=node)
    boxes = node.input[1]
    if scale != 1:
        boxes = w.op("Mul", boxes, w.constant(np.array(scale, dtype)))
    attributes = {**given, "spatial_scale": 1.0}
    if not by_size:
        operands = [node.input[0], boxes, node.input[2]]
        return [*w.nodes, node_of("RoiAlign", operands, node.output[0], attributes)]
    has_size = _has_size(w, boxes, dtype)
    boxes = w.op("Where", has_size, boxes, w.constant(_BOX.astype(dtype)))
    result = w.op("RoiAlign", node.input[0], boxes, node.input[2], **attributes)
    zero = w.constant(np.zeros((), dtype))
    like_result = w.op("Reshape", has_size, w.numbers(-1, 1, 1, 1))
    w.op("Where", like_result, result, zero, result=node.output[0])
    return w.nodes


def _mode(facts: "ModelFacts", given: "dict[str, object]") -> object:
    default = "half_pixel" if facts.opset >= _HALF_PIXELS else "output_half_pixel"
    return given.get("coordinate_transformation_mode", default)


def _have_sizes(facts: "ModelFacts", boxes: str, scale: float) -> bool:
    """Whether these boxes are constants with sizes, or what `roi_align` made of others."""
    known = facts.constants.get(boxes)
    if known is not None:
        corners = known * known.dtype.type(scale) - known.dtype.type(0.5)
        return bool((corners[:, 2:] > corners[:, :2]).all())
    maker = facts.makers.get(boxes)
    instead = maker and maker.op_type == "Where" and facts.constants.get(maker.input[2])
    return isinstance(instead, np.ndarray) and np.array_equal(instead, _BOX)


def _has_size(w: NodeWriter, boxes: str, dtype: str) -> str:
    """Whether a box has a width and a height, (boxes, 1); judged of the corners that are computed
    with, of which rounding makes one where they are close to each other.
    """
    corners = w.op("Sub", boxes, w.constant(np.array(0.5, dtype)))
    first = w.op("Gather", corners, w.numbers(0, 1), axis=1)
    last = w.op("Gather", corners, w.numbers(2, 3), axis=1)
    longer = w.op("Greater", last, first)
    sides = (w.op("Gather", longer, w.numbers(side), axis=1) for side in (0, 1))
    return w.op("And", *sides)
