"""ONNX's shape inference, kept from taking memory without bound.

With `data_prop` it follows the values of shape arithmetic, too: of each vector that an operator
adds, casts, slices …, it keeps an object an element, whether the vector is a shape or a signal. One
of 2³¹ elements is 300 bytes of a file and more memory than there is. So values are followed where
vectors are short; where a vector's length itself has to be inferred, what reads it comes later.
"""

from collections.abc import Iterator, Set
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import own_schemas, resize_factors
from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx

_MOST = 1 << 20  # elements of a vector whose values are followed: a second, 100 MB


def inferred(
    model: "onnx.ModelProto",
    *,
    strict: bool = False,
    check_type: bool = False,
    most_elements: int | None = None,
) -> "onnx.ModelProto":
    """The model with the shapes and types of its tensors, as far as they follow.

    Args:
        strict: raise for what contradicts itself.
        check_type: raise for operands of types that an operator does not take.
        most_elements: raise for a longer vector.

    Raises:
        onnx.shape_inference.InferenceError, RuntimeError, ValueError: as ONNX does.
        UnsupportedError: a vector has more than `most_elements`.
    """
    import onnx

    own_schemas.register()

    def infer(part: "onnx.ModelProto", *, values: bool) -> "onnx.ModelProto":
        found = onnx.shape_inference.infer_shapes(
            resize_factors.raised(part), check_type=check_type, strict_mode=strict, data_prop=values
        )
        resize_factors.restore(found, part)
        return found

    plain = infer(model, values=False)
    if _longest(plain)[0] > _MOST:
        return plain
    # Each turn finds the length of vectors that were open, so that their readers come back in; when
    # all of them are in, it ends.
    open_ends = set(_of_open_length(plain))
    while True:
        part = _without_readers(model, open_ends)
        result = infer(part, values=True)
        length, name = _longest(result)
        if most_elements is not None and length > most_elements:
            raise UnsupportedError(
                f"tensor {name!r} has {length} elements, more than {most_elements}"
            )
        if length > _MOST:
            return plain
        if len(part.graph.node) == len(model.graph.node):
            return result
        found = open_ends & {name for node in part.graph.node for name in node.output}
        if not found:  # a name that a graph inside has again
            return plain
        open_ends -= found


def _values(model: "onnx.ModelProto") -> "Iterator[onnx.ValueInfoProto]":
    graph = model.graph
    yield from (*graph.input, *graph.value_info, *graph.output)


def _longest(model: "onnx.ModelProto") -> tuple[int, str]:
    """The most elements of a vector whose length is known, and its name."""
    shapes = ((value.type.tensor_type.shape.dim, value.name) for value in _values(model))
    vectors = ((shape[0].dim_value, name) for shape, name in shapes if len(shape) == 1)
    weights = ((w.dims[0], w.name) for w in model.graph.initializer if len(w.dims) == 1)
    return max((*vectors, *weights), default=(0, ""))


def _of_open_length(model: "onnx.ModelProto") -> Iterator[str]:
    """Results that may be vectors of any length, for all that is known."""
    known = {value.name: value.type.tensor_type for value in _values(model)}
    for node in model.graph.node:
        for name in node.output:
            kind = known.get(name)
            shape = kind.shape.dim if kind is not None and kind.HasField("shape") else None
            if not name:  # a result that is not asked for
                continue
            if shape is None or (len(shape) == 1 and not shape[0].HasField("dim_value")):
                yield name


def _without_readers(model: "onnx.ModelProto", open_ends: Set[str]) -> "onnx.ModelProto":
    """The model without the nodes that read these, or what is made of them."""
    import onnx

    beyond = set(open_ends)
    kept = []
    for node in model.graph.node:
        if beyond.isdisjoint(_read(node)):
            kept.append(node)
        else:
            beyond.update(node.output)
    if len(kept) == len(model.graph.node):
        return model
    part = onnx.ModelProto()
    part.CopyFrom(model)
    made = {name for node in kept for name in node.output}
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    outputs = [value for value in model.graph.output if value.name in made]
    del part.graph.node[:], part.graph.output[:]
    part.graph.node.extend(nodes)
    part.graph.output.extend(outputs)
    return part


def _read(node: "onnx.NodeProto") -> Iterator[str]:
    """A node's operands, and those of the graphs inside it; not the empty name of one that is left
    out.
    """
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _read(inner)
