"""Attributes that are words: which words ONNX knows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_Words = Mapping[str, tuple[str, ...]]  # by attribute
_PADDINGS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
_DIRECTIONS = ("forward", "reverse", "bidirectional")
_RESIZE: _Words = {
    "coordinate_transformation_mode": (
        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
        "tf_crop_and_resize", "tf_half_pixel_for_nn",
    ),
    "keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
    "mode": ("nearest", "linear", "cubic"),
    "nearest_mode": ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
}  # fmt: skip
# By attribute, of any operator that has it; then by operator.
_WORDS: _Words = {"auto_pad": _PADDINGS}
_WORDS_OF: Mapping[str, _Words] = {
    "DepthToSpace": {"mode": ("DCR", "CRD")},
    "GRU": {"direction": _DIRECTIONS},
    "LSTM": {"direction": _DIRECTIONS},
    "Pad": {"mode": ("constant", "reflect", "edge", "wrap")},
    "RNN": {"direction": _DIRECTIONS},
    "Resize": _RESIZE,
}


def unknown(node: "onnx.NodeProto") -> str | None:
    """What is wrong with the first attribute whose word ONNX does not know, in words."""
    import onnx

    words = {**_WORDS, **_WORDS_OF.get(node.op_type, {})}
    for attribute in node.attribute:
        known = words.get(attribute.name)
        if known and attribute.type == onnx.AttributeProto.STRING:
            given = attribute.s.decode(errors="replace")
            if given not in known:
                return f"has {attribute.name} = {given!r}, which is none of {', '.join(known)}"
    return None
