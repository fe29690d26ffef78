"""Resize: which ways repeat pixels, and the factors that no rule and not TVM computes."""

import math
from typing import TYPE_CHECKING

from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx

# Coordinates and rounding: where the output's pixels fall between the input's, these pick the same
# as repeating each value.
REPEATING = {
    ("asymmetric", "floor"),
    ("half_pixel", "round_prefer_floor"),
    ("half_pixel", "round_prefer_ceil"),
    ("pytorch_half_pixel", "round_prefer_floor"),
}
_ROUNDED = 1e-3  # of a pixel: what float32 factors such as 2/3 are off by


def check(model: "onnx.ModelProto", where: str) -> None:
    """Refuse a Resize or Upsample whose factor is not that of its extents, rounded down.

    ONNX places the pixels by the factor; our rules and TVM's importer by the extents.

    Args:
        model: with static shapes where they are known.
        where: the file, with which the message begins.

    Raises:
        UnsupportedError: names the operator, the factor and the extent.
    """
    import onnx

    constants = {w.name: w for w in model.graph.initializer}
    values = (*model.graph.input, *model.graph.value_info)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    for node in model.graph.node:
        if node.op_type not in ("Resize", "Upsample") or node.domain not in ("", "ai.onnx"):
            continue
        factors = constants.get(_factors(node))
        if factors is None:
            continue
        listed = onnx.numpy_helper.to_array(factors).reshape(-1).tolist()
        for extent, factor in zip(shapes.get(node.input[0], []), listed, strict=False):
            exact = extent * factor
            if extent and abs(exact - math.floor(exact + _ROUNDED)) > _ROUNDED:
                raise UnsupportedError(
                    f"{where}: operator {node.op_type} ({node.output[0]!r}) by {factor:g} makes "
                    f"{exact:g} pixels of {extent}, which is not supported",
                    hint="give the sizes of the result in place of factors when exporting",
                )


def _factors(node: "onnx.NodeProto") -> str:
    """The operand with the factors: the second one until opset 10, then the third one."""
    place = 1 if len(node.input) <= 2 else 2
    return node.input[place] if place < len(node.input) else ""
