"""Kernels of one shape share one function, known by its signature before it is made."""

from dataclasses import replace

import numpy as np
import pytest

from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.epilogue.finish import RequantizeFinish
from edgekiln.compiler.kernels.sharing import signature
from edgekiln.compiler.kernels.tile import Tile
from edgekiln.targets import isa
from tests.compiler.tuning.layers import ISA, conv

MULT = np.full(16, 1e-3, np.float32)


def key(kernel: ConvolutionKernel, name: str = ISA) -> str:
    return kernel.build(isa.load(name)).code.signature


def test_other_numbers_have_the_same_signature() -> None:
    layer = replace(conv(), finish=RequantizeFinish(mult=MULT, clip=(0, 60)))
    y = replace(layer.y, scale=0.7, zero_point=200)
    other = replace(
        layer, x=replace(layer.x, scale=3.0, zero_point=9), y=y, weight=-layer.weight,
        bias=layer.bias + 5, finish=RequantizeFinish(mult=MULT * np.float32(0.3), clip=(7, 99)),
    )  # fmt: skip
    assert key(other) == key(layer)
    assert [c.tobytes() for c in other.build(isa.load(ISA)).constants] != [
        c.tobytes() for c in layer.build(isa.load(ISA)).constants
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"tile": Tile(pixels=2, vectors=1)},
        {"tile": Tile(pixels=2, vectors=1, items_first=True)},
        # Sums that can leave int32 need another clip.
        {"finish": RequantizeFinish(mult=np.full(16, 2.0, np.float32))},
        {
            "finish": RequantizeFinish(mult=MULT, clip=(3, 255))
        },  # what narrowing alone does not clip
        {"y": replace(conv().y, zero_point=0)},  # a ReLU's sums
        {"groups": 2, "weight": np.zeros((16, 8, 1, 1), np.int8)},
    ],
)
def test_what_changes_the_code_changes_the_signature(changes: dict[str, object]) -> None:
    assert key(replace(conv(), **changes)) != key(conv())  # type: ignore[arg-type]


def test_another_instruction_set_has_other_signatures() -> None:
    assert key(conv()) != key(conv(), "x86_vnni")


def test_a_signature_refuses_what_it_cannot_describe() -> None:
    with pytest.raises(TypeError, match="no part of a signature"):
        signature(object())
