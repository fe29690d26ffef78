"""Which operators compute the new frames of their result from new frames, and some older ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import operators

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.rewriting import ModelFacts

# Each value of the result is made of the values at its own place, so new frames give new frames.
_OF_ONE_VALUE = frozenset(
    "Abs Celu Clip Dropout Elu Erf Exp Gelu HardSigmoid HardSwish Identity LeakyRelu Log Mish Neg "
    "PRelu Reciprocal Relu Round Selu Sigmoid Sign Softplus Softsign Sqrt Swish Tanh "
    "ThresholdedRelu BatchNormalization QuantizeLinear DequantizeLinear Cast "
    "Add Sub Mul Div Max Min Pow".split()
)


@dataclass(frozen=True, kw_only=True)
class Frames:
    """A tensor along the axis on which the window slides: of `length` frames that the model has
    there, `new` are new in each call. The last frame of each is of the same moment.
    """

    axis: int
    new: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Carried:
    """An operator that works on new frames."""

    frames: Frames  # of its results
    past: int = 0  # older frames of its first operand that it reads, too
    identity: bool = False  # it only cuts off older ones


Known = Mapping[str, Frames]


def carried(facts: "ModelFacts", node: "onnx.NodeProto", known: Known) -> Carried | None:
    """What becomes of a node; None where it takes the whole window."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type in _OF_ONE_VALUE:
        return _elementwise(facts, node, known)
    rule = _RULES.get(node.op_type)
    fixed = all(not name or _is_constant(facts, name) for name in node.input[1:])
    if rule is None or node.input[0] not in known or not fixed:
        return None
    return rule(facts, node, known[node.input[0]])


def _elementwise(facts: "ModelFacts", node: "onnx.NodeProto", known: Known) -> Carried | None:
    """Operands of the same frames, and constants that have none of them."""
    moving = {known[name] for name in node.input if name in known}
    if len(moving) != 1:
        return None
    (frames,) = moving
    # Their parameters are vectors along an axis that they name; those of the others broadcast.
    if node.op_type in ("QuantizeLinear", "DequantizeLinear", "BatchNormalization"):
        scales = facts.static(node.input[1]) or ()
        along = operators.attributes(node).get("axis", 1)
        if node.input[0] not in known or (scales not in ((), (1,)) and along == frames.axis):
            return None
        return Carried(frames=frames)
    ranks = {len(facts.shapes[name]) for name in node.input if name in known}
    others = [name for name in node.input if name and name not in known]
    rank = max(ranks)
    fits = len(ranks) == 1 and all(_is_still(facts, name, frames, rank) for name in others)
    return Carried(frames=frames) if fits else None


def _is_still(facts: "ModelFacts", name: str, frames: Frames, rank: int) -> bool:
    """Whether an operand is a constant that is the same for each frame."""
    shape = facts.static(name)
    if shape is None or not _is_constant(facts, name):
        return False
    place = frames.axis - (rank - len(shape))
    return len(shape) <= rank and (place < 0 or shape[place] == 1)


def _is_constant(facts: "ModelFacts", name: str) -> bool:
    """Whether a value is the same in every call, codes that are dequantized included."""
    maker = facts.makers.get(name)
    if maker is not None and maker.op_type == "DequantizeLinear":
        return all(not each or each in facts.constants for each in maker.input)
    return name in facts.constants


def _window(facts: "ModelFacts", node: "onnx.NodeProto", frames: Frames) -> Carried | None:
    """A convolution or a pool without padding along the axis, that ends where the window does."""
    given = operators.attributes(node)
    # Among the spatial axes, which come behind N and C.
    place = frames.axis - 2
    weight = facts.static(node.input[1]) if len(node.input) > 1 else None
    sizes = given.get("kernel_shape", weight[2:] if weight else None)
    if place < 0 or sizes is None or given.get("ceil_mode") or len(node.output) > 1:
        return None
    if given.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    pads = given.get("pads", [0] * (2 * len(sizes)))
    stride = given.get("strides", [1] * len(sizes))[place]
    # Frames from the first to the last that one result reads.
    taps = (sizes[place] - 1) * given.get("dilations", [1] * len(sizes))[place] + 1
    padded = pads[place] or pads[place + len(sizes)]
    # Windows of two calls must begin on the same frames, and the last must end with the frames.
    # With taps below the stride, frames are skipped, and `past` would be negative.
    unaligned = frames.new % stride or (frames.length - taps) % stride
    if padded or unaligned or taps < stride:
        return None
    length = (frames.length - taps) // stride + 1
    # All of the result is new: nothing slides behind it.
    if frames.new // stride >= length:
        return None
    made = replace(frames, new=frames.new // stride, length=length)
    # past + new frames hold (past + new - taps) / stride + 1 = new / stride windows.
    return Carried(frames=made, past=taps - stride)


def _transpose(_facts: "ModelFacts", node: "onnx.NodeProto", frames: Frames) -> Carried | None:
    order = operators.attributes(node).get("perm")
    if order is None:
        return None
    return Carried(frames=replace(frames, axis=list(order).index(frames.axis)))


def _unsqueeze(facts: "ModelFacts", node: "onnx.NodeProto", frames: Frames) -> Carried | None:
    axes = _axes(facts, node, len(facts.shapes[node.output[0]]))
    if axes is None:
        return None
    axis = frames.axis
    # Axes are places in the result: from the first on, each moves what lies there or behind.
    for each in sorted(axes):
        axis += each <= axis
    return Carried(frames=replace(frames, axis=axis))


def _squeeze(facts: "ModelFacts", node: "onnx.NodeProto", frames: Frames) -> Carried | None:
    axes = _axes(facts, node, len(facts.shapes[node.input[0]]))
    if axes is None or frames.axis in axes:
        return None
    return Carried(frames=replace(frames, axis=frames.axis - sum(a < frames.axis for a in axes)))


def _axes(facts: "ModelFacts", node: "onnx.NodeProto", rank: int) -> list[int] | None:
    given = operators.attributes(node).get("axes")
    constant = facts.constant(node, 1)
    if given is None and constant is not None:
        given = constant.reshape(-1).tolist()
    return None if given is None else [int(axis) % rank for axis in given]


def _matmul(facts: "ModelFacts", node: "onnx.NodeProto", frames: Frames) -> Carried | None:
    """Rows times constant weights, where the frames are among the rows."""
    rank, weight = len(facts.shapes[node.input[0]]), facts.static(node.input[1])
    # The last axis is what is summed over.
    if weight is None or len(weight) != 2 or frames.axis >= rank - 1:
        return None
    return Carried(frames=frames)


def _rows(facts: "ModelFacts", node: "onnx.NodeProto", frames: Frames) -> Carried | None:
    """Functions of rows behind the axis of the frames."""
    rank = len(facts.shapes[node.input[0]])
    axis = operators.attributes(node).get("axis", -1) % rank
    # LayerNormalization reads all axes from `axis` on, Softmax this one alone.
    behind = axis > frames.axis if node.op_type == "LayerNormalization" else axis != frames.axis
    return Carried(frames=frames) if behind else None


def _slice(facts: "ModelFacts", node: "onnx.NodeProto", frames: Frames) -> Carried | None:
    """What cuts off older frames, and nothing else."""
    x, y = facts.shapes.get(node.input[0]), facts.shapes.get(node.output[0])
    begin, steps = facts.constant(node, 1), facts.constant(node, 4)
    axes = facts.constant(node, 3)
    if not x or not y or begin is None or (steps is not None and (steps != 1).any()):
        return None
    others = [i for i, (a, b) in enumerate(zip(x, y, strict=True)) if a != b]
    listed = list(range(len(begin))) if axes is None else [int(a) % len(x) for a in axes]
    if others != [frames.axis] or frames.axis not in listed:
        return None
    first = int(begin.reshape(-1)[listed.index(frames.axis)])
    first = first + frames.length if first < 0 else first
    length = y[frames.axis]
    # Its end must be the window's, and older frames must be left before the new ones.
    if not isinstance(length, int) or first + length != frames.length or length <= frames.new:
        return None
    return Carried(frames=replace(frames, length=length), identity=True)


_RULES: Mapping[str, Callable[["ModelFacts", "onnx.NodeProto", Frames], Carried | None]] = {
    "AveragePool": _window,
    "Conv": _window,
    "LayerNormalization": _rows,
    "MatMul": _matmul,
    "MaxPool": _window,
    "Slice": _slice,
    "Softmax": _rows,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
