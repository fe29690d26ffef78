"""Weights of four bits, two in a byte, give the bits that they would give as bytes."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.gpu.table import built
from tests.compiler.kernels import harness
from tests.compiler.kernels.convolutions import Case, Problem, cases
from tests.compiler.kernels.harness import (
    Array,
    everywhere,
    microkernel,
    quick,
    run,
)


class NarrowProblem(Problem):
    """A convolution whose weights have four bits."""

    def __init__(self, case: Case, dtype: str) -> None:
        super().__init__(case, dtype)
        self.weight = narrowed(self.weight)


def narrowed(weight: Array) -> Array:
    """The ends of eight bits become those of four; all codes come up."""
    return (weight >> 4).astype(np.int8)


@everywhere
@given(cases(), st.integers(0, 1 << 16))
@quick
def test_a_convolution_of_four_bits_agrees_with_onnx_runtime(
    name: str, case: Case, tile: int
) -> None:
    mk = microkernel(name)
    p = NarrowProblem(case, mk.activation)
    conv = ConvolutionKernel(
        y=p.y.tensor, finish=p.finish, groups=case.groups, narrow=True, **p.attributes()
    )
    every = conv.tiles(mk)
    for chosen in {None, every[tile % len(every)]}:
        memory = run(
            built(replace(conv, tile=chosen), mk), name, [p.x.memory()], p.y.tensor, case.pieces
        )
        harness.assert_codes(memory, p.expected())
