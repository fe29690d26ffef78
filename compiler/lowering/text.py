"""Tokens of text, by a function in C."""

from edgekiln.compiler.ir.memory import Code
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.program import Call, Const, Ref
from edgekiln.compiler.ir.text_ops import WordPiece
from edgekiln.compiler.lowering.state import Lowering, spec_of
from edgekiln.runtime.errors import UnsupportedError

_SOURCE = "wordpiece.c"
_SYMBOLS = {1: "wordpiece", 2: "wordpiece_masked"}  # by how many results they write


def wordpiece(low: Lowering, node: Node, op: WordPiece) -> None:
    """A call of the tokenizer in C: its work items are the texts.

    Raises:
        UnsupportedError: on a GPU.
    """
    if low.mk.group:
        raise UnsupportedError(
            f"{node.name}: no kernel for GPUs makes tokens of text",
            "leave the step wordpiece out for this target: the program then takes the numbers of "
            "the tokens",
        )
    places = [low.place(name) for name in node.outputs]
    low.calls.append(
        Call(
            name=node.name,
            op=op.kind,
            code=Code.in_c(_SOURCE, _SYMBOLS[len(node.outputs)]),
            args=(
                low.place(node.inputs[0]), Const(array=op.tables), *places,
            ),
            work=low.tensor(node.inputs[0]).shape[0],
            writes=len(node.outputs),
            output=spec_of(low.tensor(node.name)),
            where=places[0] if isinstance(places[0], Ref) else None,
        )
    )  # fmt: skip
