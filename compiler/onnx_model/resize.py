"""Resize: which ways repeat pixels, and those that no rule and not TVM computes, as products.

ONNX places the pixels of a result by a factor; our rules and TVM's importer place them by the
extents before and after, and know no antialiasing. All of ONNX's ways are linear, axis by axis.
"""

from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators, resize_matrices
from edgekiln.compiler.onnx_model.node_writer import NodeWriter
from edgekiln.compiler.onnx_model.resize_matrices import Resizing
from edgekiln.compiler.onnx_model.rewriting import ModelFacts, facts_of, rewrite
from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx

# Coordinates and rounding: where the output's pixels fall between the input's, these pick the same
# as repeating each value.
REPEATING = {
    ("asymmetric", "floor"),
    ("asymmetric", "simple"),
    ("half_pixel", "round_prefer_floor"),
    ("half_pixel", "round_prefer_ceil"),
    ("pytorch_half_pixel", "round_prefer_floor"),
}
WAYS_SINCE = 11  # the operator set since which Resize says how it places the pixels
_OLD_WAY = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
_UNKNOWN = ("antialias", "axes", "keep_aspect_ratio_policy")  # to the rule and to TVM


def in_products(model: "onnx.ModelProto", *, all_but_repeats: bool = False) -> int:
    """Rewrite in place what neither the rule nor TVM resizes as ONNX says: to a MatMul an axis, or
    to a Gather where each pixel is one of the input's.

    Args:
        all_but_repeats: rewrite also what TVM resizes, for it has no integer form.

    Left alone: operands and shapes that are no constant, and integers that are not just picked.

    Returns:
        How many were rewritten.
    """
    if all(node.op_type not in ("Resize", "Upsample") for node in model.graph.node):
        return 0

    def rule(facts: ModelFacts, node: "onnx.NodeProto") -> "list[onnx.NodeProto] | None":
        found = _resizing(facts, node)
        if found is None or _is_torn(found):
            return None
        known = not any(name in found.given for name in _UNKNOWN) and found.is_whole
        known = known and not found.roi  # a part of an image, where each pixel may lie outside
        if facts.opset < WAYS_SINCE:  # TVM takes the operands for those of today
            known = known and found.given["mode"] == "nearest" and found.repeats
        # TVM's quotients are others than ONNX Runtime's, and the last bit decides what is picked.
        if all_but_repeats or found.given["mode"] == "nearest":
            known = known and _only_repeats(found)
        return None if known else _products(facts, node, found)

    return rewrite(model, rule)


def check(model: "onnx.ModelProto", where: str) -> None:
    """Refuse what `in_products` left, and whose pixels would be placed in another way than ONNX's.

    Args:
        model: with static shapes where they are known.
        where: the file, with which the message begins.

    Raises:
        UnsupportedError: names the operator, and the attribute or the factor.
    """

    if all(node.op_type not in ("Resize", "Upsample") for node in model.graph.node):
        return
    facts = facts_of(model)
    for node in model.graph.node:
        if node.op_type not in ("Resize", "Upsample") or node.domain not in ("", "ai.onnx"):
            continue
        label = f"{where}: operator {node.op_type} ({node.output[0]!r})"
        found = _resizing(facts, node)
        unknown = [name for name in _UNKNOWN if name in _given(facts, node)]
        if unknown:
            raise UnsupportedError(
                f"{label}: its attribute {unknown[0]} is not supported with sizes that are "
                "computed, on integers, or with pixels from outside",
                hint="export the model with fixed sizes, for floats",
            )
        if found is not None and not found.is_whole:
            raise UnsupportedError(
                f"{label} by {list(found.factors or ())} makes no whole pixels of "
                f"{list(found.before)}, which is not supported",
                hint="give the sizes of the result in place of factors when exporting",
            )


def _is_torn(found: Resizing) -> bool:
    """Corners that cannot be aligned: by ONNX's tests the last pixel of 4·0.6 = 2.4 lies at 1.4, by
    ONNX Runtime at 1. `check` refuses it.
    """
    way = found.given.get("coordinate_transformation_mode")
    return way == "align_corners" and not found.is_whole


def say_the_old_way(model: "onnx.ModelProto") -> None:
    """Write out in place how pixels were placed before WAYS_SINCE: ONNX's converter leaves a Resize
    that it raises the defaults of today.
    """
    import onnx

    for node in model.graph.node:
        if node.op_type == "Resize" and not node.domain:
            given = operators.attributes(node)
            for name, value in _OLD_WAY.items():
                if name not in given:
                    node.attribute.append(onnx.helper.make_attribute(name, value))


def _only_repeats(found: Resizing) -> bool:
    """Whether the rule has it: each pixel as often as any other, in ONNX's order."""
    way = (
        found.given.get("coordinate_transformation_mode", "half_pixel"),
        found.given.get("nearest_mode", "round_prefer_floor"),
    )
    return found.given["mode"] == "nearest" and found.repeats and way in REPEATING


def _resizing(facts: ModelFacts, node: "onnx.NodeProto") -> Resizing | None:
    if node.op_type not in ("Resize", "Upsample") or node.domain not in ("", "ai.onnx"):
        return None
    factors, sizes = _numbers(facts, node)
    before, after = (_extents(facts, name, factors) for name in (node.input[0], node.output[0]))
    if not before or after is None or (factors is None and sizes is None):
        return None
    given = _given(facts, node)
    crops = given.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    corners = facts.constant(node, 1) if crops else np.zeros(0)
    if corners is None:
        return None
    return Resizing(
        before=before, after=after, factors=factors, sizes=sizes, given=given,
        roi=tuple(corners.tolist()),
    )  # fmt: skip


def _extents(
    facts: ModelFacts, name: str, factors: tuple[float, ...] | None
) -> tuple[int, ...] | None:
    """All extents; where the batch is open and stays as it is, those of one sample."""
    shape = facts.static(name)
    fixed = facts.fixed(name)
    if shape is None and fixed is not None and factors and factors[0] == 1:
        return (1, *fixed)
    return shape


def _given(facts: ModelFacts, node: "onnx.NodeProto") -> operators.Attributes:
    """Its attributes, as of the newest Resize; those that nobody knows only where they count."""
    given = operators.attributes(node)
    given.pop("scales", None)  # Upsample's, until opset 9
    given["mode"] = given.get("mode", "nearest").replace("bilinear", "linear")
    if facts.opset < WAYS_SINCE:
        given |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "simple"}
    for name, default in (("antialias", 0), ("keep_aspect_ratio_policy", "stretch")):
        if given.get(name, default) == default:
            given.pop(name, None)
    rank = len(facts.shapes.get(node.input[0], ()))
    if sorted(axis % max(rank, 1) for axis in given.get("axes", ())) == list(range(rank)):
        order = given["axes"]
        # All axes in their order are what no `axes` says, too.
        if list(order) == sorted(order):
            del given["axes"]
    return given


def _numbers(
    facts: ModelFacts, node: "onnx.NodeProto"
) -> tuple[tuple[float, ...] | None, tuple[int, ...] | None]:
    """Factors and sizes, one of which is None; both, where they are not constant."""
    listed = operators.attributes(node).get("scales")
    if listed is not None:
        return tuple(listed), None
    # (x, factors) until opset 10, and of an Upsample; (x, roi, factors, sizes) since.
    place = 1 if len(node.input) <= 2 else 2
    factors, sizes = facts.constant(node, place), facts.constant(node, 3)
    if sizes is not None and sizes.size:
        return None, tuple(sizes.tolist())
    return (tuple(factors.tolist()) if factors is not None and factors.size else None), None


def _products(
    facts: ModelFacts, node: "onnx.NodeProto", found: Resizing
) -> "list[onnx.NodeProto] | None":

    dtype = facts.dtypes.get(node.input[0], "")
    is_nearest = found.given["mode"] == "nearest"
    floats = dtype.startswith("float")
    if not is_nearest and not floats:
        return None
    rank = len(found.before)
    matrices = {
        axis: matrix
        for axis in range(rank)
        if (matrix := resize_matrices.matrix(found, axis)) is not None
        and not np.array_equal(matrix, np.eye(found.before[axis]))
    }
    if any(len(matrix) != found.after[axis] for axis, matrix in matrices.items()):
        return None
    empty = any(not matrix.any(axis=1).all() for matrix in matrices.values())
    if empty and (not floats or found.given.get("extrapolation_value", 0.0)):
        return None  # pixels from outside, which are no product

    w, source = NodeWriter(facts=facts, node=node), node.input[0]
    if not matrices:
        w.op("Identity", source, result=node.output[0])
    for axis, matrix in matrices.items():
        result = node.output[0] if axis == [*matrices][-1] else ""
        if is_nearest and not empty:
            # Each row has a single one in it: nothing is multiplied, so integers stay what they
            # are.
            picked = w.constant(matrix.argmax(axis=1))
            source = w.op("Gather", source, picked, axis=axis, result=result)
            continue
        order = [*(i for i in range(rank) if i != axis), axis]
        is_last = axis == rank - 1
        moved = source if is_last else w.op("Transpose", source, perm=order)
        factors = w.constant(matrix.T.astype(dtype))
        source = w.op("MatMul", moved, factors, result=result if is_last else "")
        if not is_last:
            source = w.op("Transpose", source, perm=np.argsort(order).tolist(), result=result)
    return w.nodes
