"""The steps of recurrent layers."""

from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.program import Call, Const, Ref
from edgekiln.compiler.ir.recurrent_ops import Recurrent
from edgekiln.compiler.kernels.gpu.recurrent import MOST_WIDTH
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.recurrent.kernel import RecurrentKernel
from edgekiln.compiler.lowering.state import Lowering, spec_of
from edgekiln.runtime.errors import UnsupportedError


def steps(low: Lowering, node: Node, op: Recurrent) -> None:
    """One call for all of them, which writes states and what the last one leaves.

    Raises:
        UnsupportedError: on a GPU, a state of very many values.
    """
    y = low.tensor(node.name)
    length, batch, width = y.shape
    if low.mk.group and width > MOST_WIDTH:
        raise UnsupportedError(
            f"{node.name}: a state of {width} values, and the threads of a GPU share memory for "
            f"{MOST_WIDTH}",
            "make the layer's state narrower, or build for a CPU",
        )
    steps_of_all = RecurrentKernel(
        cell=op.cell, length=length, batch=batch, width=width, backward=op.backward,
        weight=op.weight, bias=op.bias, factor=op.factor, inverse=op.inverse, y=y.nhwc(),
    )  # fmt: skip
    kernel = built(steps_of_all, low.mk)
    places = [low.place(name) for name in node.outputs]
    low.calls.append(
        Call(
            name=node.name,
            op=op.kind,
            code=kernel.code,
            args=(
                *(low.place(name) for name in node.inputs),
                *(Const(array=array) for array in kernel.constants),
                *places,
            ),
            work=kernel.work,
            macs=length * batch * op.weight.size,
            integer=True,
            writes=len(places),
            output=spec_of(y),
            where=places[0] if isinstance(places[0], Ref) else None,
        )
    )
