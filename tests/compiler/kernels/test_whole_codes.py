"""Kernels that make codes by integers alone agree with ONNX Runtime, bit by bit."""

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import assume, given

from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.depthwise.kernel import DepthwiseKernel
from edgekiln.compiler.kernels.epilogue.finish import RequantizeFinish
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.lowering.finish import in_integers
from edgekiln.compiler.quantization.whole_scales import moved_scales
from edgekiln.targets import isa
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr, cast, const, maximum, minimum, splat
from edgekiln.targets.isa.halfwords import RequantizeUnit
from tests.compiler.kernels import harness
from tests.compiler.kernels.convolutions import Case, Problem, cases
from tests.compiler.kernels.harness import Codes, emulated_quick, microkernel, run, thorough

HERE = Case(
    seed=0, n=1, size=(4, 4), groups=1, channels=(8, 8), kernel=(3, 3), strides=(1, 1),
    dilations=(1, 1), pads=(0, 0, 0, 0), zeros=("low", "some"), data="random", halos=(0, 0),
    clipped=False, pieces=1,
)  # fmt: skip
MICROCONTROLLERS = ("arm_dsp", "arm_mve", "arm_v6m")
K = TypeVar("K", bound=ConvolutionKernel | DepthwiseKernel)


@dataclass(frozen=True, kw_only=True)
class PlainRequantize(RequantizeUnit):
    """In the operations that every processor has, so that this one can try many cases."""

    def codes(self, acc: Expr, factor: Expr, start: Expr, shift: int, lanes: int) -> Expr:
        product = cast(acc, "int64", lanes) * cast(factor, "int64", lanes)
        high = cast(product >> splat(const(32, "int64"), lanes), "int32", lanes)
        whole = (splat(start, lanes) + high) >> splat(const(shift), lanes)
        low, most = (splat(const(end), lanes) for end in (-128, 127))
        return cast(minimum(maximum(whole, low), most), "int8", lanes)


def micro_kernel(name: str) -> MicroKernel:
    mk = microkernel(name)
    return replace(mk, requantizes=PlainRequantize()) if name == "generic_s8" else mk


def problem(case: Case) -> Problem:
    """One whose scales a quantizer would have left."""
    p = Problem(replace(case, clipped=False), "int8")
    steps = np.arange(-127, 128, dtype=np.int64) - p.y.tensor.zero_point
    p.w_scale = moved_scales(p.w_scale, float(p.x_scale), float(p.y_scale), steps)
    return p


def whole(kernel: K, mk: MicroKernel) -> K:
    """Small factors may have no integers at any scale that is near."""
    made = in_integers(kernel, mk)
    assume(is_whole(made))
    return made


def is_whole(kernel: ConvolutionKernel | DepthwiseKernel) -> bool:
    assert isinstance(kernel.finish, RequantizeFinish)
    return kernel.finish.whole is not None


def kernel_of(p: Problem, *, depthwise: bool, **more: Any) -> ConvolutionKernel | DepthwiseKernel:
    common = {**p.attributes(), **more}
    return (
        DepthwiseKernel(**common)
        if depthwise
        else ConvolutionKernel(groups=p.case.groups, **common)
    )


def check(name: str, case: Case, *, depthwise: bool) -> None:
    mk, p = micro_kernel(name), problem(case)
    conv = whole(kernel_of(p, depthwise=depthwise, y=p.y.tensor, finish=p.finish), mk)
    memory = run(built(conv, mk), name, [p.x.memory()], p.y.tensor, case.pieces)
    harness.assert_codes(memory, p.expected())


def check_residual(name: str, case: Case, *, depthwise: bool) -> None:
    mk, p = micro_kernel(name), problem(case)
    fused, other, total = p.residual()
    clip = harness.bounds(total.dtype)
    finish = RequantizeFinish(mult=p.mult, clip=clip)
    conv = whole(kernel_of(p, depthwise=depthwise, y=total, finish=finish, residual=fused), mk)
    memory = run(built(conv, mk), name, [p.x.memory(), other.memory()], total, case.pieces)
    own = replace(p.expected(), tensor=p.y.tensor)
    harness.assert_codes(memory, Codes(total, harness.summed(own, other, total, clip)))


@given(cases())
@thorough
def test_a_convolution_is_right(case: Case) -> None:
    check("generic_s8", case, depthwise=False)


@given(cases(depthwise=True))
@thorough
def test_a_depthwise_convolution_is_right(case: Case) -> None:
    check("generic_s8", case, depthwise=True)


@given(cases())
@thorough
def test_a_sum_of_a_convolution_and_another_tensor_is_right(case: Case) -> None:
    check_residual("generic_s8", case, depthwise=False)


@pytest.mark.parametrize("name", MICROCONTROLLERS)
@given(case=cases())
@emulated_quick
def test_a_microcontroller_makes_the_same_codes(name: str, case: Case) -> None:
    check(name, case, depthwise=False)
    check_residual(name, case, depthwise=False)


@pytest.mark.parametrize("name", MICROCONTROLLERS)
@given(case=cases(depthwise=True))
@emulated_quick
def test_a_microcontroller_makes_the_same_codes_of_single_channels(name: str, case: Case) -> None:
    check(name, case, depthwise=True)
    check_residual(name, case, depthwise=True)


@pytest.mark.parametrize("seed", range(8))
def test_the_scales_that_quantize_leaves_have_integers(seed: int) -> None:
    p = problem(replace(HERE, seed=seed))
    conv = ConvolutionKernel(y=p.y.tensor, finish=p.finish, **p.attributes())
    assert is_whole(in_integers(conv, isa.load("arm_dsp")))


def test_chips_that_make_codes_by_floats_with_less_work_do() -> None:
    p = problem(HERE)
    conv = ConvolutionKernel(y=p.y.tensor, finish=p.finish, **p.attributes())
    assert in_integers(conv, isa.load("x86_vnni")) is conv


def test_code_by_integers_has_another_signature_than_code_by_floats() -> None:
    p, mk = problem(HERE), isa.load("arm_dsp")
    conv = ConvolutionKernel(y=p.y.tensor, finish=p.finish, **p.attributes())
    signatures = {each.build(mk).code.signature for each in (conv, in_integers(conv, mk))}
    assert len(signatures) == 2


@pytest.mark.parametrize("name", [*MICROCONTROLLERS, "arm_dsp_m7"])
def test_codes_of_16_bits_are_made_by_floats(name: str) -> None:
    """Of 65,536 codes float32 rounds too many places for integers to have them all."""
    assert isa.load(name).requantizes
    assert isa.for_words(isa.load(name)).requantizes is None


@pytest.mark.parametrize("zeros", [("low", "low"), ("some", "high")])
def test_a_layer_one_of_whose_channels_has_no_factor_goes_by_floats(
    zeros: tuple[str, str],
) -> None:
    p = problem(replace(HERE, zeros=zeros))
    conv = ConvolutionKernel(y=p.y.tensor, finish=p.finish, **p.attributes())
    mult = p.mult.copy()
    mult[5] = 2.0**-8
    lost = replace(conv, finish=RequantizeFinish(mult=mult, clip=p.clip))
    found = [is_whole(in_integers(each, isa.load("arm_dsp"))) for each in (conv, lost)]
    assert found == [True, False]
