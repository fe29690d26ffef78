"""Networks that give a detector's numbers as they are told, and what was found in them, computed
box by box.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgekiln.compiler.onnx_model import io
from edgekiln.runtime.manifest import Preprocessing

Array = NDArray[Any]
SIZE = (16, 24)  # of the network's picture
CLASSES = 3
LABELS = ("cat", "dog", "hen")
NUMBERS = Preprocessing(scale=1.0, mean=(0.0,), std=(1.0,))


def network(
    *shapes: tuple[int, ...], labels: tuple[str, ...] = LABELS, batch: int | str = 1,
    names: Sequence[str] = (), opset: int = 17,
) -> onnx.ModelProto:  # fmt: skip
    """It takes a picture, and its outputs as further inputs."""
    names = names or [f"y{i}" for i in range(len(shapes))]

    def value(name: str, *extents: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *extents])

    inputs = [value("x", 3, *SIZE)] + [
        value(f"in_{n}", *s) for n, s in zip(names, shapes, strict=True)
    ]
    outputs = [value(name, *shape) for name, shape in zip(names, shapes, strict=True)]
    nodes = [helper.make_node("Identity", [f"in_{name}"], [name], name=name) for name in names]
    nodes.append(helper.make_node("GlobalAveragePool", ["x"], ["mean"], name="mean"))
    outputs.append(value("mean", 3, 1, 1))
    graph = helper.make_graph(nodes, "detector", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    io.write_meta(model, io.Meta(preprocessing=NUMBERS, labels=labels))
    return model


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def softmax(x: Array) -> Array:
    powers = np.exp(np.asarray(x, np.float64))
    return powers / powers.sum()


@dataclass(frozen=True)
class Seen:
    """A box and its scores."""

    edges: Array
    scores: Array


def overlap(a: Array, b: Array) -> float:
    def area(box: Array) -> float:
        return abs((box[2] - box[0]) * (box[3] - box[1]))

    def shared(axis: int) -> float:
        low = max(min(a[axis], a[axis + 2]), min(b[axis], b[axis + 2]))
        return max(0.0, min(max(a[axis], a[axis + 2]), max(b[axis], b[axis + 2])) - low)

    both = shared(0) * shared(1)
    return both / (area(a) + area(b) - both) if both else 0.0


def found(
    seen: Sequence[Seen], *, score: float = 0.25, iou: float = 0.45, most: int = 100,
    per_class: int = 10**6, together: bool = False,
) -> list[tuple[float, ...]]:  # fmt: skip
    """What stays, best first: left, top, right, bottom, score, class."""
    rows = []
    for group in range(1 if together else len(seen[0].scores)):
        kept: list[tuple[float, int, int]] = []
        candidates = []
        for number, each in enumerate(seen):
            kind = int(np.argmax(each.scores)) if together else group
            if each.scores[kind] > score:
                candidates.append((-each.scores[kind], number, kind))
        for candidate in sorted(candidates):
            edges = seen[candidate[1]].edges
            free = all(overlap(edges, seen[other].edges) <= iou for _, other, _ in kept)
            if free and len(kept) < per_class:
                kept.append(candidate)
        rows += kept
    rows.sort(key=lambda row: row[0])
    return [(*seen[n].edges, -negative, float(kind)) for negative, n, kind in rows[:most]]


def centered(x: float, y: float, width: float, height: float) -> Array:
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


Decode = Callable[[float, float, Array, tuple[float, float], int], Array]


def on_grids(
    outputs: Sequence[Array], strides: Sequence[int], anchors: Sequence[tuple[float, float]],
    decode: Decode, *, has_object: bool,
) -> list[Seen]:  # fmt: skip
    """Boxes of (1, anchors · numbers, H, W) outputs: grid by grid, anchor by anchor, row by row."""
    each = max(1, len(anchors) // len(strides))
    seen = []
    for index, (output, stride) in enumerate(zip(outputs, strides, strict=True)):
        channels, height, width = output.shape[1:]
        for anchor, row, column in itertools.product(range(each), range(height), range(width)):
            numbers = output[0, :, row, column].reshape(each, channels // each)[anchor]
            sides = anchors[index * each + anchor] if anchors else (0.0, 0.0)
            scores = sigmoid(numbers[4 + has_object :])
            if has_object:
                scores = scores * sigmoid(numbers[4])
            seen.append(Seen(decode(column, row, numbers[:4], sides, stride), scores))
    return seen


def yolox(c: float, r: float, n: Array, _sides: tuple[float, float], s: int) -> Array:
    return centered((c + n[0]) * s, (r + n[1]) * s, np.exp(n[2]) * s, np.exp(n[3]) * s)


def yolov3(c: float, r: float, n: Array, sides: tuple[float, float], s: int) -> Array:
    x, y = sigmoid(n[0]) + c, sigmoid(n[1]) + r
    return centered(x * s, y * s, np.exp(n[2]) * sides[0], np.exp(n[3]) * sides[1])


def yolov5(c: float, r: float, n: Array, sides: tuple[float, float], s: int) -> Array:
    a = 2 * sigmoid(n)
    return centered(
        (a[0] - 0.5 + c) * s, (a[1] - 0.5 + r) * s, a[2] ** 2 * sides[0], a[3] ** 2 * sides[1]
    )


def distances(c: float, r: float, n: Array, _sides: tuple[float, float], s: int) -> Array:
    x, y = (c + 0.5) * s, (r + 0.5) * s
    return np.array([x - n[0] * s, y - n[1] * s, x + n[2] * s, y + n[3] * s])
