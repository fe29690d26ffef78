"""What the compiler makes of each ONNX operator: the one place that knows.

The rows are in `operator_table`. The quantizer, its check, the passes and the report ask here, and
`docs/operators.md` is printed from it, so that no two of them can disagree.
"""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from edgekiln.compiler.onnx_model.operator_row import Operator, Role
from edgekiln.compiler.onnx_model.operator_table import TABLE
from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx

Attributes = dict[str, Any]  # by their names, as `onnx.helper` reads them, text decoded

_ROWS = {(row.domain, row.name): row for row in sorted(TABLE, key=lambda r: (r.domain, r.name))}
_SUPPORTED = "docs/operators.md lists what is supported; take this part out of the model"
_OF_ONNX_RUNTIME = ("com.microsoft", "com.ms.")  # domains
_NOT_OPTIMIZED = (
    "ONNX Runtime's optimizer made it: give the model that it read, or have it save its result at "
    "ORT_ENABLE_BASIC"
)
_DEFAULTS = "export the model without it, at the attribute's default"


def find(name: str, domain: str = "") -> Operator | None:
    """The row of an operator; None for one that nobody knows."""
    return _ROWS.get(("" if domain == "ai.onnx" else domain, name))


def of(node: "onnx.NodeProto") -> Operator | None:
    """The row of a node's operator."""
    return find(node.op_type, node.domain)


def rows() -> Iterator[Operator]:
    """All of them, by domain and name."""
    yield from _ROWS.values()


def integer_form(name: str, domain: str = "") -> str:
    """The rule that makes an integer operation of it; "" when there is none."""
    row = find(name, domain)
    return row.integer if row else ""


def float_form(name: str, domain: str = "") -> str:
    """The rule that makes a float kernel of it, FALLBACK for Relax; "" when there is none."""
    row = find(name, domain)
    return row.float_form if row else ""


def unary(name: str, domain: str = "") -> bool:
    """Whether an operator of one activation and numbers is a lookup table on int8."""
    row = find(name, domain)
    return row is not None and row.lookup


def heavy(name: str, domain: str = "") -> bool:
    """Whether this is where the time goes."""
    row = find(name, domain)
    return row is not None and row.heavy


def quantizable(name: str, domain: str = "") -> bool:
    """Whether `quantize` puts quantization around it."""
    row = find(name, domain)
    return row is not None and row.role in ("quantized", "pass-through")


def names(*roles: Role) -> list[str]:
    """The ONNX operators that play one of these roles, in alphabetical order."""
    return [row.name for row in rows() if row.role in roles and not row.domain]


def data_operands(node: "onnx.NodeProto") -> list[str]:
    """Inputs that carry data: without shapes, axes, pads and bounds."""
    row = of(node)
    if row is not None and row.data == "all":
        return [name for name in node.input if name]
    return list(node.input[:1])


def channel_axis(node: "onnx.NodeProto") -> int | None:
    """The axis of a product's weights along which its output channels lie."""
    row = of(node)
    if row is None or row.weights is None:
        return None
    by = row.weights.transposed_by
    transposed = bool(by) and any(a.name == by and a.i for a in node.attribute)
    return 0 if transposed else row.weights.axis


def attributes(node: "onnx.NodeProto") -> Attributes:
    """A node's attributes as Python values, text decoded."""
    import onnx

    found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode(errors="replace") if isinstance(v, bytes) else v for k, v in found.items()}


def unread_attributes(node: "onnx.NodeProto", opset: int) -> list[str]:
    """Attributes that no rule reads and that are not at their default.

    Args:
        node: of an operator in the table.
        opset: version of the operator's domain, which says what the defaults are.
    """
    import onnx

    row = of(node)
    if row is None:
        return []
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, row.domain)
    except onnx.defs.SchemaError:
        return []  # an operator of ONNX Runtime's: nothing says what its defaults are
    found = []
    for name, value in attributes(node).items():
        if name in row.attributes or name not in schema.attributes:
            continue
        default = schema.attributes[name].default_value
        known = onnx.helper.get_attribute_value(default) if default.name else None
        known = known.decode() if isinstance(known, bytes) else known
        if value != known:
            found.append(name)
    return found


def by_definition(node: "onnx.NodeProto", opset: int, read: Collection[str]) -> bool:
    """Whether ONNX's definition of the operator, if there is one, is to take its place.

    Args:
        opset: version of the operator's domain.
        read: the tensors that somebody reads.
    """
    row = of(node)
    if row is None or row.role in ("integer", "folded", "refused"):
        return False
    if row.role == "defined" or unread_attributes(node, opset):
        return True
    return row.first_result and any(name in read for name in node.output[1:])


def given_parameters(node: "onnx.NodeProto") -> list[str]:
    """The attributes of a node that have a form at their defaults alone, and have other values."""
    row, given = of(node), attributes(node)
    return [name for name in row.defaults_only if given.get(name)] if row else []


def check_known(model: "onnx.ModelProto", where: str = "") -> None:
    """Refuse operators that nobody knows, of which not even shapes can be inferred.

    Args:
        where: of a file, to begin the message with.

    Raises:
        UnsupportedError: there is one.
    """
    for node in model.graph.node:
        if of(node) is None:
            domain = f" of {node.domain}" if node.domain else ""
            theirs = node.domain.startswith(_OF_ONNX_RUNTIME)
            raise UnsupportedError(
                f"{_label(node, where)}{domain} is unknown",
                hint=_NOT_OPTIMIZED if theirs else _SUPPORTED,
            )


def check(model: "onnx.ModelProto", where: str = "") -> None:
    """Refuse what no program can be made of, by name.

    Args:
        model: one that the loader accepted.
        where: of a file, to begin the message with.

    Raises:
        UnsupportedError: an operator that is refused or that nobody knows, an attribute or operand
            that no rule reads.
    """
    check_known(model, where)
    opsets = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}
    for node in model.graph.node:
        label = _label(node, where)
        row = of(node)
        assert row is not None
        if row.role == "defined":  # and nothing has taken its place
            for name in given_parameters(node):
                raise UnsupportedError(
                    f"{label}: its attribute {name} = {attributes(node)[name]!r} is not supported",
                    hint=_DEFAULTS,
                )
            raise UnsupportedError(f"{label} is not supported: {row.limits}", hint=_SUPPORTED)
        if row.role != "folded" and not (row.integer or row.float_form):
            raise UnsupportedError(f"{label} is not supported: {row.limits}", hint=_SUPPORTED)
        opset = opsets.get(row.domain, 1)
        for name in unread_attributes(node, opset):
            value = attributes(node)[name]
            raise UnsupportedError(
                f"{label}: its attribute {name} = {value!r} is not supported",
                hint=_DEFAULTS,
            )
    check_operands(model, where)


def check_operands(model: "onnx.ModelProto", where: str = "") -> None:
    """Raise UnsupportedError at an operand that no rule reads, by name: as in `check`, which asks,
    too. ONNX Runtime's rewrites may take its operator away before anybody else asks.
    """
    import numpy as np
    import onnx

    constants = {w.name: w for w in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    prefix = f"{where}: " if where else ""
    for node in model.graph.node:
        row = of(node)
        for place in row.unread_operands if row else ():
            name = node.input[place] if place < len(node.input) else ""
            if name and (
                name not in constants or np.any(onnx.numpy_helper.to_array(constants[name]))
            ):
                raise UnsupportedError(
                    f"{prefix}operator {node.op_type} ({_result(node)!r}): its operand {place} "
                    f"({name!r}) is not supported",
                    hint=row.limits if row else "",
                )


def _label(node: "onnx.NodeProto", where: str) -> str:
    return f"{f'{where}: ' if where else ''}operator {node.op_type} ({_result(node)!r})"


def _result(node: "onnx.NodeProto") -> str:
    return next((name for name in node.output if name), node.name)
