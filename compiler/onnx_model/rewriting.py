"""What every rewrite of an ONNX graph needs: shapes, constants, and new names that nobody has."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekiln.compiler.onnx_model import extents, shape_inference
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    Constant = NDArray[Any]  # of whichever numbers the model has; rewrites calculate with them

_ONNX = ("", "ai.onnx")


@dataclass
class ModelFacts:
    """What is known about a model before a rewrite, and the constants that the rewrite adds."""

    shapes: dict[str, tuple[extents.Extent, ...]]  # of every tensor whose shape can be inferred
    floats: frozenset[str]  # tensors of float32
    dtypes: dict[str, str]  # of every tensor whose type is known, as numpy names it
    opset: int
    constants: "dict[str, Constant]"
    makers: "dict[str, onnx.NodeProto]"
    readers: "dict[str, list[onnx.NodeProto]]"
    outputs: frozenset[str]
    made: "list[onnx.TensorProto]" = field(default_factory=list)
    numbered: dict[str, int] = field(default_factory=dict)  # the last number behind a new name

    def constant(self, node: "onnx.NodeProto", place: int) -> "Constant | None":
        """An operand's value; None when it is absent or no constant."""
        return self.constants.get(node.input[place]) if place < len(node.input) else None

    def fixed(self, name: str) -> tuple[int, ...] | None:
        """The extents behind the batch; None when one of them is open or nothing is known."""
        shape = self.shapes.get(name, ())
        inner = tuple(extent for extent in shape[1:] if isinstance(extent, int))
        return inner if shape and len(inner) == len(shape) - 1 else None

    def static(self, name: str) -> tuple[int, ...] | None:
        """All extents; None when one of them is open or nothing is known."""
        if name in self.constants:
            return self.constants[name].shape
        shape = self.shapes.get(name)
        fixed = tuple(extent for extent in shape or () if isinstance(extent, int))
        return fixed if shape is not None and len(fixed) == len(shape) else None

    def alone(self, name: str) -> "onnx.NodeProto | None":
        """The one node that reads a tensor, when nobody else does."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def add(self, name: str, value: "NDArray[np.generic]") -> str:
        """A new constant; returns its name, `name` or one that begins so and is free."""
        import numpy as np
        import onnx

        name = self.free(name)
        self.constants[name] = value
        # `ascontiguousarray` would give a number an axis.
        self.made.append(onnx.numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def free(self, name: str) -> str:
        """`name`, or one that begins so, for a tensor to be made."""
        candidate, count = name, self.numbered.get(name, 0)
        while any(candidate in names for names in (self.constants, self.dtypes, self.makers)):
            count += 1
            candidate = f"{name}_{count}"
        self.numbered[name] = count
        # From here on the name is taken, though nothing is known of the tensor yet.
        self.dtypes[candidate] = ""
        return candidate


# The nodes to put in the place of one, or None to leave it. The last of them makes its result.
Rule = Callable[[ModelFacts, "onnx.NodeProto"], "list[onnx.NodeProto] | None"]


def rewrite(model: "onnx.ModelProto", rule: Rule) -> int:
    """Put what `rule` says in the place of each node; weights that nobody reads any more go.

    Returns:
        How many nodes were rewritten.
    """
    facts = facts_of(model)
    nodes: list[onnx.NodeProto] = []
    count = 0
    for node in model.graph.node:
        instead = rule(facts, node)
        nodes += [node] if instead is None else instead
        count += instead is not None
    model.graph.initializer.extend(facts.made)
    replace_nodes(model, nodes)
    return count


def facts_of(model: "onnx.ModelProto") -> ModelFacts:
    """Infer shapes and look everything up once."""
    import onnx

    inferred = with_shapes(model).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    floats = {v.name for v in values if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    weights = model.graph.initializer
    types = {v.name: v.type.tensor_type.elem_type for v in values}
    types |= {w.name: w.data_type for w in weights}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        # A node that reads a tensor twice, as x · x does, is one reader.
        for name in dict.fromkeys(filter(None, node.input)):
            readers.setdefault(name, []).append(node)
    return ModelFacts(
        shapes={v.name: extents.extents(v) for v in values if v.type.tensor_type.HasField("shape")},
        floats=frozenset(
            floats | {w.name for w in weights if w.data_type == onnx.TensorProto.FLOAT}
        ),
        dtypes={
            name: onnx.helper.tensor_dtype_to_np_dtype(kind).name
            for name, kind in types.items()
            if kind
        },
        opset=max((o.version for o in model.opset_import if o.domain in _ONNX), default=1),
        constants={weight.name: onnx.numpy_helper.to_array(weight) for weight in weights},
        makers={out: node for node in model.graph.node for out in node.output if out},
        readers=readers,
        outputs=frozenset(value.name for value in model.graph.output),
    )


def with_shapes(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """A copy that declares each shape that can be inferred. InputError when they contradict."""
    import onnx

    try:
        return shape_inference.inferred(model)
    except onnx.shape_inference.InferenceError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"the model's shapes do not fit: {reason}") from error


def drop_unused_weights(model: "onnx.ModelProto") -> None:
    """Remove initializers that no node and no output reads."""
    used = {name for node in model.graph.node for name in node.input}
    used |= {value.name for value in model.graph.output}
    kept = [weight for weight in model.graph.initializer if weight.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def replace_nodes(model: "onnx.ModelProto", nodes: "list[onnx.NodeProto]") -> None:
    """Put these nodes, new or of the model, in the place of all; weights nobody reads go."""
    # Copies: some of the nodes lie in the very list that is emptied next.
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    drop_unused_weights(model)
