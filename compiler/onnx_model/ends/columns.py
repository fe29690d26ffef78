"""Columns of a table become the indices that a network looks up: buckets of numbers, hashes of ids.

A step is `buckets=age:0,18,35;income:1e3` or `hash=user:1000`; the program's inputs have the names
of the network's.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model import nested
from edgekiln.compiler.onnx_model.ends import lookup_tables
from edgekiln.compiler.onnx_model.ends.functions import BUCKET, HASH_INDEX
from edgekiln.compiler.onnx_model.ends.graph_end import GraphEnd
from edgekiln.compiler.onnx_model.ends.steps import BEFORE, EndStep, parsed
from edgekiln.compiler.onnx_model.extents import extents
from edgekiln.models.column_indices import BUCKETS, HASH, KINDS, counts_of, edges_of
from edgekiln.runtime.manifest import ID, VALUE

if TYPE_CHECKING:
    import onnx

# What says how a column becomes an index: edges, or the number of indices.
Rule = NDArray[np.generic]
HASHING_OPSET = 18  # since when ONNX has exclusive or of numbers
_INDICES = ("int32", "int64")
_DTYPES: Mapping[str, type[np.generic]] = {BUCKETS: np.float32, HASH: np.int64}
_HOLDS = {BUCKETS: VALUE, HASH: ID}


def read(step: EndStep) -> dict[str, Rule]:
    """Column → its rule. Raises ConfigError: it does not fit."""
    if step.name == BUCKETS:
        return {**edges_of(step.spec, step.wrong)}
    return {
        name: np.array(count, np.uint32) for name, count in counts_of(step.spec, step.wrong).items()
    }


def held(before: Sequence[str]) -> dict[str, str]:
    """What the inputs of a model with these steps hold, by name, see `TensorSpec.holds`."""
    steps = _of_columns(before)
    return {name: _HOLDS[step.name] for step in steps for name in read(step)}


def drawn(
    before: Sequence[str], name: str, shape: Sequence[int], draw: np.random.Generator
) -> NDArray[np.generic] | None:
    """Values of a column that reach all of its buckets, edges among them, and ids of any size;
    None: the input is no column.
    """
    for step in _of_columns(before):
        rule = read(step).get(name)
        if rule is None:
            continue
        if step.name == HASH:
            limits = np.iinfo(np.int64)
            return draw.integers(limits.min, limits.max, shape, np.int64, endpoint=True)
        edges = rule.astype(np.float32)
        below = np.nextafter(edges, np.float32(-np.inf))
        return draw.choice(np.concatenate([edges, below, [np.float32(np.nan)]]), shape)
    return None


def _of_columns(before: Sequence[str]) -> list[EndStep]:
    texts = [text for text in before if text.partition("=")[0] in KINDS]
    return [*parsed(texts, BEFORE, "before")]


def indices(
    model: "onnx.ModelProto", end: GraphEnd, steps: Sequence[EndStep],
    values: "Sequence[onnx.ValueInfoProto]",
) -> str:  # fmt: skip
    """Put the way from columns before the inputs that take indices; returns what there is to tell.

    Args:
        values: the inputs of the network, but for its states.

    Raises:
        ConfigError: the network has no such input, or one that takes no such indices.
    """
    there = {value.name: value for value in values}
    told, taken = [], set()
    for step in steps:
        for name, rule in read(step).items():
            if name in taken:
                raise step.wrong(f"input {name!r} has a step already", hint="keep one of the two")
            taken.add(name)
            value = _input(step, name, there)
            count = rule.size + 1 if step.name == BUCKETS else int(rule)
            _check(step, end, value, count)
            _write(model, end, step, value, rule)
            dtype = np.dtype(_DTYPES[step.name]).name
            told.append(f"{dtype} {name} {list(extents(value)[1:])} of {count} indices")
    return ", ".join(told)


def _input(
    step: EndStep, name: str, there: "Mapping[str, onnx.ValueInfoProto]"
) -> "onnx.ValueInfoProto":
    if name not in there:
        listed = ", ".join(f"{_dtype(value)} {each}" for each, value in there.items())
        raise step.wrong(f"no input {name!r}", hint=f"the network takes {listed}")
    return there[name]


def _check(step: EndStep, end: GraphEnd, value: "onnx.ValueInfoProto", count: int) -> None:
    """Whether the input takes that many indices."""
    shape = extents(value)
    if _dtype(value) not in _INDICES or not shape:
        raise step.wrong(
            f"input {value.name!r} is {_dtype(value)} {list(shape)}",
            hint="indices go to an input of int32 or int64, of a batch of samples",
        )
    if any(isinstance(extent, str) for extent in shape[1:]):
        raise step.wrong(
            f"input {value.name!r} has no fixed shape: {list(shape)}",
            hint=f"fix it: --shape {value.name}=1x1",
        )
    if value.name in end.facts.outputs:
        raise step.wrong(
            f"input {value.name!r} is an output, too", hint="export the network without it"
        )
    # An index that the network does not know would become another one.
    if rows := lookup_tables.too_small(end, count - 1, value.name):
        raise step.wrong(
            f"makes {count} indices of {value.name!r}, the network knows {rows}",
            hint="give the edges or the number that the network was trained with",
        )


def _dtype(value: "onnx.ValueInfoProto") -> str:
    import onnx

    kind = value.type.tensor_type.elem_type
    return onnx.helper.tensor_dtype_to_np_dtype(kind).name


def _write(
    model: "onnx.ModelProto", end: GraphEnd, step: EndStep, value: "onnx.ValueInfoProto", rule: Rule
) -> None:
    """The input takes the column, and what read it reads the index."""
    import onnx

    index = end.free(value.name)
    for graph in nested.graphs_of(model):
        for node in graph.node:
            for place, name in enumerate(node.input):
                if name == value.name:
                    node.input[place] = index
    operand = end.constant(rule, f"{value.name}.{step.name}")
    kind = value.type.tensor_type.elem_type
    operator = BUCKET if step.name == BUCKETS else HASH_INDEX
    end.own(operator, value.name, operand, result=index, to=kind)
    dtype = np.dtype(_DTYPES[step.name])
    value.type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(dtype)
