"""What a model remembers: an input of a call that is an output of the call before.

The pair is named by the user, or found by its names: `h0` and `hn`, `state` and `stateN`, `…_in`
and `…_out`, `past_key_values.…` and `present.…`, where type and shape are the same.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import extents, shape_inference
from edgekiln.runtime.errors import ConfigError

if TYPE_CHECKING:
    import onnx

    from edgekiln.compiler.onnx_model.extents import Extent

Pair = tuple[str, str]

# What exporters put around one name to tell both ends apart; 0 and n are PyTorch's h0 and hn.
_SUFFIXES_IN = ("_in", ".in", "_input", "_prev", "_old", "_0", "0")
_SUFFIXES_OUT = ("_out", ".out", "_output", "_next", "_new", "_n", "n", "_N", "N")
_PREFIXES_IN = ("in_", "input_", "prev_", "past_key_values.", "past.", "past_")
_PREFIXES_OUT = ("out_", "output_", "next_", "new_", "present.", "present_")
# An input of such a name needs no mark: what else would be called so?
_WORDS = ("state", "states", "h", "c", "hx", "cx", "hidden", "cell", "cache", "context", "memory")


def find(model: "onnx.ModelProto") -> tuple[Pair, ...]:
    """The pairs whose names and types say that they are one state; none if they would leave the
    model without an input or without an output.
    """
    inputs, outputs = _ends(model)
    pairs = [
        (name, next_name)
        for name in inputs
        for next_name in outputs
        if _is_named_so(name, next_name) and _fits(inputs[name], outputs[next_name])
    ]
    # A name that fits several others is left to the user: a state that is fed from the wrong output
    # raises nothing and only answers wrongly.
    single = tuple(
        pair
        for pair in pairs
        if sum(pair[0] == a for a, _ in pairs) == 1 and sum(pair[1] == b for _, b in pairs) == 1
    )
    return single if len(single) < min(len(inputs), len(outputs)) else ()


def named(model: "onnx.ModelProto", texts: Sequence[str]) -> tuple[Pair, ...]:
    """The pairs that "IN=OUT" names.

    Raises:
        ConfigError: no such input or output, one that is named twice, types or shapes that differ,
            or nothing is left that a call is given or gives back.
    """
    inputs, outputs = _ends(model)
    pairs: list[Pair] = []
    for text in texts:
        name, equals, next_name = text.partition("=")
        if not equals or not name or not next_name:
            raise ConfigError(f"--state {text}: is no pair", hint="write IN=OUT")
        for end, known, what in ((name, inputs, "input"), (next_name, outputs, "output")):
            if end not in known:
                hint = f"its {what}s are: {', '.join(known)}"
                raise ConfigError(f"--state {text}: the model has no {what} {end!r}", hint=hint)
            if any(end == pair[what == "output"] for pair in pairs):
                raise ConfigError(f"--state {text}: {end!r} is given twice")
        if not _fits(inputs[name], outputs[next_name]):
            first, last = _described(inputs[name]), _described(outputs[next_name])
            raise ConfigError(
                f"--state {text}: {name} is {first}, {next_name} is {last}",
                hint="what one call leaves is what the next one takes: types and shapes are equal",
            )
        pairs.append((name, next_name))
    for count, what in ((len(inputs), "input"), (len(outputs), "output")):
        if len(pairs) == count:
            raise ConfigError(
                f"--state: every {what} of the model is a state",
                hint=f"a step of a stream has an {what} of its own",
            )
    return tuple(pairs)


def zero_code(model: "onnx.ModelProto", name: str) -> int:
    """What stands for zero in an input: the zero point, where all that reads it dequantizes."""
    from onnx import numpy_helper

    constants = {weight.name: weight for weight in model.graph.initializer}
    readers = [node for node in model.graph.node if name in node.input]
    zeros = {
        node.input[2] if node.op_type == "DequantizeLinear" and len(node.input) > 2 else ""
        for node in readers
    }
    # Readers that disagree, or one that takes the input as it is ("" above): plain zeros.
    if len(zeros) != 1 or not zeros <= constants.keys():
        return 0
    values = numpy_helper.to_array(constants[zeros.pop()])
    return int(values.reshape(-1)[0]) if values.size == 1 else 0


def _ends(
    model: "onnx.ModelProto",
) -> "tuple[dict[str, onnx.ValueInfoProto], dict[str, onnx.ValueInfoProto]]":
    inferred = shape_inference.inferred(model)
    inputs = {value.name: value for value in extents.model_inputs(model)}
    return inputs, {value.name: value for value in inferred.graph.output}


def _is_named_so(name: str, next_name: str) -> bool:
    before, after = (
        set(_stems(name, _PREFIXES_IN, _SUFFIXES_IN)),
        set(_stems(next_name, _PREFIXES_OUT, _SUFFIXES_OUT)),
    )
    # Stems exist of marked names alone, so an unmarked input such as `state` has none.
    return bool(before & after) or (name.lower() in _WORDS and name in after)


def _stems(name: str, prefixes: Iterable[str], suffixes: Iterable[str]) -> Iterable[str]:
    """What is left of a name without what marks an end."""
    yield from (name.removeprefix(mark) for mark in prefixes if name.startswith(mark))
    yield from (name.removesuffix(mark) for mark in suffixes if name.endswith(mark))


def _fits(first: "onnx.ValueInfoProto", last: "onnx.ValueInfoProto") -> bool:
    """Whether both have one type, and one shape as far as it is known."""
    if first.type.tensor_type.elem_type != last.type.tensor_type.elem_type:
        return False
    # Shape inference does not reach every output; then the type alone has to agree.
    if not last.type.tensor_type.HasField("shape"):
        return True
    before, after = _shape(first), _shape(last)
    return len(before) == len(after) and all(
        a == b or not (isinstance(a, int) and isinstance(b, int))
        for a, b in zip(before, after, strict=True)
    )


def _shape(value: "onnx.ValueInfoProto") -> "tuple[Extent, ...]":
    """0 and below is how some exporters write what is open."""
    return tuple("?" if e in (0, -1) else e for e in extents.extents(value))


def _described(value: "onnx.ValueInfoProto") -> str:
    import onnx

    kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
    return f"{kind} ({', '.join(map(str, _shape(value)))})"
