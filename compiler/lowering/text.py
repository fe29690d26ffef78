"""Tokens of text, by functions in C."""

from edgekiln.compiler.ir.memory import Code
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.program import ArenaBuffer, Call, Const, Ref
from edgekiln.compiler.ir.text_ops import TokensOp
from edgekiln.compiler.lowering.state import Lowering, spec_of
from edgekiln.runtime.errors import UnsupportedError

# By how many results they write.
_SYMBOLS = {
    "wordpiece": {1: "wordpiece", 2: "wordpiece_masked"}, "bpe": {1: "bpe", 2: "bpe_masked"}
}  # fmt: skip


def tokens(low: Lowering, node: Node, op: TokensOp) -> None:
    """A call of a tokenizer in C: its work items are the texts.

    Raises:
        UnsupportedError: on a GPU.
    """
    if low.mk.group:
        raise UnsupportedError(
            f"{node.name}: no kernel for GPUs makes tokens of text",
            f"leave the step {op.kind} out for this target: the program then takes the numbers of "
            "the tokens",
        )
    places = [low.place(name) for name in node.outputs]
    text = low.tensor(node.inputs[0])
    scratch = []
    if op.SCRATCH:
        buffer = ArenaBuffer(name=f"{node.name}:scratch", bytes=op.SCRATCH * text.elements)
        low.buffers[buffer.name] = buffer
        scratch.append(Ref(buffer=buffer.name))
    low.calls.append(
        Call(
            name=node.name,
            op=op.kind,
            code=Code.in_c(f"{op.kind}.c", _SYMBOLS[op.kind][len(node.outputs)]),
            args=(low.place(node.inputs[0]), Const(array=op.tables), *places, *scratch),
            work=text.shape[0],
            writes=len(node.outputs) + len(scratch),
            output=spec_of(low.tensor(node.name)),
            where=places[0] if isinstance(places[0], Ref) else None,
        )
    )
