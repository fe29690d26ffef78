"""A convolution that reads the first channels of a wider one's weights gives its own bits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.conv2d.nested import nested
from edgekiln.compiler.kernels.conv2d.plan import DirectPlan
from edgekiln.targets import isa
from edgekiln.targets.isa.base import MicroKernel
from tests.compiler.kernels import harness
from tests.compiler.kernels.convolutions import Case, Problem, cases
from tests.compiler.kernels.harness import EMULATED, microkernel, quick, run

EMULATED_SLOWLY = [pytest.param(name, marks=pytest.mark.slow) for name in EMULATED]
MORE = (0, 4, 8, 16, 24, 40)


def wider(conv: ConvolutionKernel, more: tuple[int, int], mk: MicroKernel) -> ConvolutionKernel:
    """The convolution with other channels behind its own, by its definition."""
    oc, ic, *kernel = conv.weight.shape
    shape = (oc + more[0], ic + more[1], *kernel)
    weight = np.random.default_rng(3).integers(-128, 128, shape).astype(np.int8)
    weight[:oc, :ic] = conv.weight
    other = replace(
        conv,
        weight=weight,
        bias=np.zeros(shape[0], np.int32),
        x=replace(conv.x, c=shape[1], pitch=0),
        y=replace(conv.y, c=shape[0], pitch=0),
    )
    return replace(other, tile=DirectPlan(other, mk.products).ranked[0][1])


@pytest.mark.parametrize("name", ["generic_s8", "x86_vnni", *EMULATED_SLOWLY])
@given(cases(), st.sampled_from(MORE), st.sampled_from(MORE))
@quick
def test_a_nested_convolution_agrees_with_onnx_runtime(
    name: str, case: Case, outputs: int, inputs: int
) -> None:
    assume(case.groups == 1)
    mk = microkernel(name)
    if inputs:  # its own fill whole steps
        few = -case.channels[0] % 8 + case.channels[0]
        case = replace(case, channels=(few, case.channels[1]))
        inputs += -inputs % 8
    p = Problem(case, mk.activation)
    conv = ConvolutionKernel(y=p.y.tensor, finish=p.finish, **p.attributes())
    outer = wider(conv, (outputs, inputs), mk)
    inner = nested(conv, [outer], mk)
    # A border around x alone may make one row of what is several in the wider one.
    assume(inner is not None)
    assert inner is not None
    kernel = inner.build(mk)
    # The very bytes that the wider one has.
    packed = outer.direct(mk)
    assert packed is not None
    assert kernel.constants[0].tobytes() == packed.packed_weights().tobytes()
    memory = run(kernel, name, [p.x.memory()], p.y.tensor, case.pieces)
    harness.assert_codes(memory, p.expected())


CASE = Case(
    seed=1, n=1, size=(6, 6), groups=1, channels=(16, 16), kernel=(3, 3), strides=(1, 1),
    dilations=(1, 1), pads=(1, 1, 1, 1), zeros=("some", "some"), data="random", halos=(0, 0),
    clipped=False, pieces=1,
)  # fmt: skip


def convolution(case: Case) -> ConvolutionKernel:
    p = Problem(case, microkernel("generic_u8").activation)
    return ConvolutionKernel(y=p.y.tensor, finish=p.finish, **p.attributes())


def test_weights_are_read_where_they_are_the_first_channels() -> None:
    conv, mk = convolution(CASE), microkernel("generic_u8")
    assert nested(conv, [wider(conv, (16, 16), mk)], mk) is not None


@pytest.mark.parametrize("where", [(0, 0), (15, 15)])
def test_one_other_weight_is_another_convolution(where: tuple[int, int]) -> None:
    conv, mk = convolution(CASE), microkernel("generic_u8")
    outer = wider(conv, (16, 16), mk)
    outer.weight[where] ^= 1
    assert nested(conv, [outer], mk) is None


def test_input_channels_that_fill_no_whole_steps_are_not_read_in_a_wider_convolution() -> None:
    conv, mk = convolution(replace(CASE, channels=(6, 16))), microkernel("generic_u8")
    assert nested(conv, [wider(conv, (0, 10), mk)], mk) is None
    # As many as there are need no steps of their own.
    assert nested(conv, [wider(conv, (16, 0), mk)], mk) is not None


@pytest.mark.parametrize("inputs", [1, 2, 4])
def test_weights_that_were_widened_are_not_read_as_bytes(inputs: int) -> None:
    """The Cortex-M4 multiplies both widths, under one name and in as many steps of few inputs."""
    mk = isa.load("arm_dsp")
    case = replace(CASE, kernel=(1, 1), pads=(0, 0, 0, 0), channels=(inputs, 8))
    p = Problem(case, mk.activation)
    wide = ConvolutionKernel(y=p.y.tensor, finish=p.finish, **p.attributes())
    assert wide.build(mk).constants[0].dtype == np.int16
    narrow = replace(
        wide, y=replace(wide.y, c=4), weight=wide.weight[:4], bias=wide.bias[:4],
        finish=replace(p.finish, mult=p.mult[:4]),
    )  # fmt: skip
    assert nested(narrow, [wide], mk) is None
