"""docs/operators.md, printed from the operator table.

python -m edgekiln.compiler.onnx_model.operator_docs docs/operators.md
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.operator_row import FALLBACK, Operator, Role

_HEAD = """\
# Operators

<!-- Printed from compiler/onnx_model/operator_table.py; do not edit. Print it again with:
     python -m edgekiln.compiler.onnx_model.operator_docs docs/operators.md -->

What becomes of each ONNX operator. *Integers* is the operation on int8 codes that it becomes
between quantized neighbours, *floats* the kernel in a float32 program or in a part that stayed
float; *fallback* is code by TVM's importer and Relax, which is slower. An attribute that is not
listed must stand at its default; another value is refused by name. `edgekiln quantize` says of
each operation that stays float why it does.
"""

_SECTIONS: tuple[tuple[Role, str, str], ...] = (
    ("quantized", "Quantized", "`edgekiln quantize` gives their results a scale and a zero point."),
    (
        "pass-through",
        "Quantized like what they read",
        "Their results keep the scale and zero point of their operand.",
    ),
    (
        "enclosed",
        "Integers between quantized neighbours",
        "Nothing is quantized for their sake; between what is quantized they are integers, too.",
    ),
    (
        "float",
        "Floats",
        "They compute on real numbers, or `edgekiln quantize` writes them in other operators.",
    ),
    (
        "defined",
        "Written in other operators when a file is read",
        (
            "By the definition in ONNX's specification. The same is done with an operator of the "
            "other tables that has one, where an attribute or a result is used that no rule knows."
        ),
    ),
    ("folded", "Computed while the model is read", "Where their operands are known."),
    (
        "integer",
        "Of quantized models",
        "A model that is quantized already comes in QDQ form, or has operators on integers.",
    ),
)


def page() -> str:
    """The whole page, Markdown."""
    parts = [_HEAD]
    for role, title, text in _SECTIONS:
        rows = [row for row in operators.rows() if row.role == role]
        parts.append(f"## {title}\n\n{text}\n\n{_table(rows)}")
    refused: dict[str, list[str]] = {}
    for row in operators.rows():
        if row.role == "refused":
            refused.setdefault(row.limits, []).append(row.name)
    lines = [f"- {reason}: {', '.join(names)}" for reason, names in sorted(refused.items())]
    parts.append("## Refused\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _table(rows: Iterable[Operator]) -> str:
    lines = [
        "| operator | integers | floats | attributes | rewritten when quantizing | limits |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = f"{row.domain}.{row.name}" if row.domain else row.name
        cells = (
            name, _form(row.integer), _form(row.float_form), ", ".join(row.attributes),
            row.rewritten, row.limits,
        )  # fmt: skip
        lines.append("| " + " | ".join(cell or "–" for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _form(rule: str) -> str:
    return FALLBACK if rule == FALLBACK else rule.replace("_", " ")


if __name__ == "__main__":
    (_target,) = sys.argv[1:]
    Path(_target).write_text(page(), encoding="utf-8")
