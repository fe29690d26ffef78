"""Convolution agrees with ONNX Runtime's integer kernel, bit by bit, on every micro-kernel."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from edgekiln.compiler.kernels.conv2d import Conv2d
from edgekiln.compiler.kernels.depthwise import Depthwise2d
from edgekiln.compiler.kernels.spec import F32
from tests.compiler.kernels import harness
from tests.compiler.kernels.convolutions import Case, Problem, cases
from tests.compiler.kernels.harness import Codes, everywhere, microkernel, quick, run, thorough


def check_conv(name: str, case: Case) -> None:
    mk = microkernel(name)
    p = Problem(case, mk.activation)
    conv = Conv2d(y=p.y.tensor, mult=p.mult, clip=p.clip, groups=case.groups, **p.attributes())
    memory = run(conv.build(mk), name, [p.x.memory()], p.y.tensor, case.pieces)
    harness.assert_codes(memory, p.expected())


def check_depthwise(name: str, case: Case) -> None:
    mk = microkernel(name)
    p = Problem(case, mk.activation)
    conv = Depthwise2d(y=p.y.tensor, mult=p.mult, clip=p.clip, **p.attributes())
    memory = run(conv.build(mk), name, [p.x.memory()], p.y.tensor, case.pieces)
    harness.assert_codes(memory, p.expected())


def check_residual(name: str, case: Case) -> None:
    mk = microkernel(name)
    p = Problem(case, mk.activation)
    fused, other, total = p.residual()
    clip = harness.bounds(total.dtype)
    conv = Conv2d(
        y=total, mult=p.mult, clip=clip, groups=case.groups, residual=fused, **p.attributes()
    )
    memory = run(conv.build(mk), name, [p.x.memory(), other.memory()], total, case.pieces)
    own = replace(p.expected(), tensor=p.y.tensor)
    harness.assert_codes(memory, Codes(total, harness.summed(own, other, total, clip)))


def check_float_result(name: str, case: Case) -> None:
    mk = microkernel(name)
    p = Problem(case, mk.activation)
    n, c, h, w = p.oracle_shape
    out = F32(n=n, h=h, w=w, c=c)
    mult = (p.x_scale * p.w_scale).astype(np.float32)
    conv = Conv2d(y=out, mult=mult, groups=case.groups, **p.attributes())
    memory = run(conv.build(mk), name, [p.x.memory()], out, case.pieces)
    expected = p.sums().astype(np.float32) * mult[:, None, None]
    np.testing.assert_array_equal(memory, expected.transpose(0, 2, 3, 1).reshape(-1))


@everywhere
@given(cases())
@quick
def test_convolution_agrees_with_onnx_runtime(name: str, case: Case) -> None:
    check_conv(name, case)


@everywhere
@given(cases(depthwise=True))
@quick
def test_depthwise_convolution_agrees_with_onnx_runtime(name: str, case: Case) -> None:
    check_depthwise(name, case)


@everywhere
@given(cases())
@quick
def test_a_fused_residual_gives_the_bits_of_the_two_kernels(name: str, case: Case) -> None:
    check_residual(name, case)


@everywhere
@given(cases())
@quick
def test_float_results_are_the_scaled_exact_sums(name: str, case: Case) -> None:
    check_float_result(name, case)


@pytest.mark.slow
@everywhere
@pytest.mark.parametrize("check", [check_conv, check_residual, check_float_result])
@given(case=cases())
@thorough
def test_convolutions_by_the_thousand(
    name: str, check: Callable[[str, Case], None], case: Case
) -> None:
    check(name, case)


@pytest.mark.slow
@everywhere
@given(cases(depthwise=True))
@thorough
def test_depthwise_convolutions_by_the_thousand(name: str, case: Case) -> None:
    check_depthwise(name, case)
