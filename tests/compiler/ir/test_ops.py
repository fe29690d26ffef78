"""Operations answer for themselves, so that no pass must know their names."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, get_args, get_type_hints

import numpy as np

from edgekiln.compiler.ir import fixed_ops, linear, moves, ops
from edgekiln.compiler.ir.codes import (
    Codes,
    FloatFinish,
    IntFinish,
    Quant,
    Residual,
)
from edgekiln.compiler.ir.function import FunctionStep
from edgekiln.compiler.ir.linear import Conv2d
from edgekiln.compiler.ir.node import Node, Op
from edgekiln.compiler.ir.onnx_op import Onnx, Subgraph
from edgekiln.compiler.ir.window import Window

BYTES = IntFinish(qmin=-128, qmax=127)


def conv2d(**more: object) -> Conv2d:
    values: dict[str, object] = {
        "weight": np.ones((4, 3, 1, 1), np.int8),
        "bias": np.zeros(4, np.int32),
        "mult": np.ones(4, np.float32),
        "finish": BYTES,
        "window": Window(kernel=(1, 1)),
    }
    return Conv2d(**(values | more))  # type: ignore[arg-type]


def test_a_new_operation_is_moved_with_its_codes_whatever_their_names() -> None:
    @dataclass(frozen=True, kw_only=True, eq=False)
    class Clamp(Op):
        KIND: ClassVar[str] = "clamp"
        bounds: IntFinish
        around: Quant
        times: int = 3

    moved = Clamp(bounds=IntFinish(qmin=-5, qmax=6), around=Quant(scale=0.1, zero_point=2)).shifted(
        128
    )
    assert moved.bounds == IntFinish(qmin=123, qmax=134)
    assert moved.around == Quant(scale=0.1, zero_point=130)
    assert moved.times == 3


def test_the_codes_of_a_residual_move_too_and_floats_do_not() -> None:
    own = Residual(conv_quant=Quant(scale=0.1, zero_point=7), conv_finish=BYTES)
    moved = conv2d(residual=own).shifted(128)
    assert moved.residual is not None
    assert moved.residual.conv_quant == Quant(scale=0.1, zero_point=135)
    assert moved.residual.conv_finish == moved.finish == IntFinish(qmin=0, qmax=255)
    floats = conv2d(mult=None, finish=FloatFinish(low=0.0))
    assert floats.shifted(128).finish == FloatFinish(low=0.0)


def operations() -> Iterator[type[Op]]:
    for module in (fixed_ops, linear, moves, ops):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Op) and hasattr(value, "KIND"):
                yield value


# Whole numbers of operations that are extents, axes, positions and counts. What is none of these is
# a code, which moves with its tensor's zero point, and so of a type that is `Codes`.
NO_CODES = {
    "a_perm", "after", "axis", "b_perm", "before", "begin", "block", "groups", "perm", "repeats",
    "starts", "steps", "width", "y_perm",
}  # fmt: skip


def leaves(hint: object) -> set[object]:
    """The types that a hint is made of: int of `tuple[int, ...] | None`."""
    inner = get_args(hint)
    return set().union(*map(leaves, inner)) if inner else {hint}


def test_no_operation_keeps_codes_where_they_would_not_be_moved() -> None:
    """A clip, a zero point or a table is in a type that is `Codes`, never a bare number."""
    assert len({*operations()}) >= 20
    numbers = {
        name
        for kind in operations()
        for name, hint in get_type_hints(kind).items()
        if int in leaves(hint)
    }
    assert numbers == NO_CODES
    assert issubclass(IntFinish, Codes)


def test_a_convolution_takes_one_residual_and_none_if_its_sums_become_floats() -> None:
    assert conv2d().takes_residual()
    assert not conv2d().with_residual(None, BYTES).takes_residual()
    assert not conv2d(finish=FloatFinish()).takes_residual()


def test_only_floats_take_a_function() -> None:
    assert conv2d(mult=None, finish=FloatFinish()).takes_function()
    assert conv2d(finish=FloatFinish()).takes_function()  # floats of codes
    assert not conv2d().takes_function()


def test_a_value_is_no_number_that_is_called_alike() -> None:
    # To Python 1 and 1.0, and 0 and 0.0, are equal.
    assert FunctionStep("Mul", (0, 1)) != FunctionStep("Mul", (0, 1.0))
    assert FunctionStep("Mul", (0, 1)) == FunctionStep("Mul", (0, 1))
    assert FunctionStep("Less", (0, 0.0)) != FunctionStep("Less", (0, 0))


def test_a_subgraph_renames_what_is_inside_and_stays_itself_where_nothing_is_named() -> None:
    inner = Node(op=Onnx(op_type="Sin"), inputs=("x",), outputs=("y",))
    node = Node(op=Subgraph(nodes=(inner,)), inputs=("x",), outputs=("y",))
    assert node.renamed({"other": "z"}) is node
    renamed = node.renamed({"x": "z"})
    assert isinstance(renamed.op, Subgraph)
    assert (renamed.inputs, renamed.op.nodes[0].inputs) == (("z",), ("z",))
