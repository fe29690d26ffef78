"""Names that ONNX Runtime's quantizer is going to take, kept free for it.

It calls what it makes for a tensor `t` t_scale, t_zero_point, t_quantized, t_QuantizeLinear… and
looks at nobody's names. A model that has such a tensor beside `t`, and may, would be destroyed.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_MADE = re.compile(r"_(?:quantized|scale|zero_point|QuantizeLinear|DequantizeLinear)")


def spare(model: "onnx.ModelProto") -> dict[str, str]:
    """Rename, in place, each tensor beside which there is one with a name made from its own.

    Returns:
        The old name of each that was renamed, by its new name, for `rename` to undo it.
    """
    graph = model.graph
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    names |= {value.name for value in (*graph.input, *graph.output)}
    names |= {weight.name for weight in graph.initializer}
    renamed: dict[str, str] = {}
    # In one order, so that equal models are renamed equally.
    for name in sorted(names):
        # Renaming the base is enough: the quantizer makes its names from it.
        for base in _bases(name):
            if base in names and base not in renamed.values():
                renamed[_free(base, names, renamed)] = base
    rename(model, {old: new for new, old in renamed.items()})
    return renamed


def rename(model: "onnx.ModelProto", names: Mapping[str, str]) -> None:
    """Give tensors other names, wherever they stand in the graph."""
    if not names:
        return
    graph = model.graph
    for node in graph.node:
        for listed in (node.input, node.output):
            listed[:] = [names.get(name, name) for name in listed]
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)


def _bases(name: str) -> list[str]:
    """The tensors for which the quantizer could make this name: of a_scale_scale, a and a_scale."""
    return [name[: match.start()] for match in _MADE.finditer(name)]


def _free(base: str, names: set[str], renamed: Mapping[str, str]) -> str:
    """A name from which the quantizer makes nothing that there is."""
    candidate = f"{base}."
    while candidate in renamed or any(name.startswith(candidate) for name in names):
        candidate += "."
    return candidate
