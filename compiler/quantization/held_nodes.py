"""Nodes of ours that ONNX Runtime, which would write their definitions in their place, does not
see: they are taken out of a model, and put back.
"""

from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import own_functions, rewriting

if TYPE_CHECKING:
    import onnx


def taken_out(model: "onnx.ModelProto") -> "tuple[onnx.ModelProto, list[onnx.NodeProto]]":
    """A copy whose outputs are what such nodes read, too, and whose inputs what they make; and the
    nodes.
    """
    import numpy as np
    import onnx

    held = [node for node in model.graph.node if node.domain in own_functions.DOMAINS]
    if not held:
        return model, []
    facts = rewriting.facts_of(model)
    bare = onnx.ModelProto()
    bare.CopyFrom(model)

    def value(name: str) -> "onnx.ValueInfoProto":
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(facts.dtypes[name]))
        return onnx.helper.make_tensor_value_info(name, kind, facts.shapes.get(name))

    made = {name for node in held for name in node.output if name}
    read = {name for node in held for name in node.input if name} - made
    given = {each.name for each in model.graph.input} | facts.constants.keys()
    told = {each.name for each in model.graph.output}
    rewriting.replace_nodes(bare, [n for n in model.graph.node if n not in held])
    kept = [each for each in bare.graph.output if each.name not in made]
    del bare.graph.output[:]
    bare.graph.output.extend([*kept, *(value(name) for name in sorted(read - given - told))])
    bare.graph.input.extend(value(name) for name in sorted(made))
    del bare.functions[:]
    return bare, held


def put_back(
    simplified: "onnx.ModelProto", held: "list[onnx.NodeProto]", model: "onnx.ModelProto"
) -> None:
    """Give a model its nodes again, in place; `model` is what it was before they were taken out."""
    if not held:
        return
    weights = {weight.name for weight in simplified.graph.initializer}
    read = {name for node in held for name in node.input}
    simplified.graph.initializer.extend(
        weight
        for weight in model.graph.initializer
        if weight.name in read and weight.name not in weights
    )
    for kept, known in ((simplified.graph.input, model.graph.input),
                        (simplified.graph.output, model.graph.output)):  # fmt: skip
        names = [value.name for value in known]
        values = {value.name: value for value in (*known, *kept)}
        del kept[:]
        kept.extend(values[name] for name in names)
    ready = {value.name for value in simplified.graph.input} | {""}
    ready |= {weight.name for weight in simplified.graph.initializer}
    waiting, ordered = [*simplified.graph.node, *held], []
    while waiting:
        node = next(each for each in waiting if ready.issuperset(each.input))
        waiting.remove(node)
        ordered.append(node)
        ready.update(node.output)
    rewriting.replace_nodes(simplified, ordered)
    own_functions.declare(simplified)
