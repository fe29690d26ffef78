"""Float convolutions: as near to the exact sums as their number of terms allows, on every chip."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.compiler.ir.function import FunctionStep
from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.depthwise.kernel import DepthwiseKernel
from edgekiln.compiler.kernels.epilogue.finish import ActivationFinish
from edgekiln.compiler.kernels.epilogue.sums import ResidualOperand
from tests.compiler.kernels import harness
from tests.compiler.kernels.convolutions import Case, cases
from tests.compiler.kernels.filtering import filtering_error, may_be_filtered
from tests.compiler.kernels.floats import UNIT, assert_within, random_floats
from tests.compiler.kernels.harness import (
    Array,
    floats_everywhere,
    floats_here,
    microkernel,
    quick,
    run,
)

few = settings(quick, max_examples=3)


class Problem:
    """A case's tensors, the exact result, and how far float32 may be from it."""

    def __init__(self, case: Case) -> None:
        rng = np.random.default_rng(case.seed)
        ic, oc = (count * case.groups for count in case.channels)
        top, left, bottom, right = case.pads
        self.case = case
        self.weight = rng.normal(size=(oc, case.channels[0], *case.kernel)).astype(np.float32)
        self.bias = rng.normal(size=oc).astype(np.float32)
        h, w = case.size
        border = harness.halo(case.halos[0], top, left, bottom, right)
        shape = {"n": case.n, "dtype": "float32"}
        self.x = random_floats(rng, Nhwc(h=h, w=w, c=ic, halo=border, **shape))  # type: ignore[arg-type]
        self.sums = self._oracle(self.x.values, self.weight, self.bias)
        sizes = np.abs(self.x.values), np.abs(self.weight), np.abs(self.bias)
        terms = self.weight[0].size + 1
        self.bound = terms * UNIT * self._oracle(*sizes)
        if may_be_filtered(case, self.sums.shape):
            self.bound += filtering_error(*sizes, case.pads)
        halo = harness.halo(case.halos[1], 0, 0, 0, 0)
        *_, oh, ow = self.sums.shape
        self.y = Nhwc(h=oh, w=ow, c=oc, halo=halo, **shape)  # type: ignore[arg-type]
        self.other = random_floats(rng, replace(self.y, halo=harness.halo(1, 0, 0, 0, 0)))

    def _oracle(self, x: Array, weight: Array, bias: Array) -> Array:
        """In float64."""
        case = self.case
        top, left, bottom, right = case.pads
        image, filters, offset = (torch.from_numpy(a.astype(np.float64)) for a in (x, weight, bias))
        padded = torch.nn.functional.pad(image, (left, right, top, bottom))
        result: Array = torch.nn.functional.conv2d(
            padded, filters, offset, case.strides, 0, case.dilations, case.groups
        ).numpy()
        return result

    def attributes(self) -> dict[str, Any]:
        case = self.case
        return {
            "x": self.x.tensor,
            "y": self.y,
            "weight": self.weight,
            "bias": self.bias,
            "strides": case.strides,
            "dilations": case.dilations,
            "pads": case.pads[:2],
        }


def conv2d(case: Case, common: dict[str, Any], **more: Any) -> ConvolutionKernel | DepthwiseKernel:
    more = {"finish": ActivationFinish(), **more}
    if case.channels == (1, 1) and case.groups > 1:
        return DepthwiseKernel(**common, **more)
    return ConvolutionKernel(groups=case.groups, **common, **more)


def check(name: str, case: Case) -> None:
    mk, p = microkernel(name), Problem(case)
    kernel = conv2d(case, p.attributes()).build(mk)
    memory = run(kernel, name, [p.x.memory()], p.y, case.pieces)
    assert_within(memory, p.y, p.sums, p.bound)


@floats_everywhere
@given(cases())
@few
def test_sums_are_as_exact_as_their_terms_allow(name: str, case: Case) -> None:
    check(name, case)


@floats_everywhere
@given(cases(depthwise=True))
@few
def test_depthwise_sums_are_as_exact_as_their_terms_allow(name: str, case: Case) -> None:
    check(name, case)


@floats_here
@given(cases() | cases(depthwise=True))
@few
def test_residual_clip_and_function_come_in_this_order(name: str, case: Case) -> None:
    mk, p = microkernel(name), Problem(case)
    residual = ResidualOperand(tensor=p.other.tensor, clip=(0.0, float("inf")))
    function = (
        FunctionStep("Mul", (0, 2.0)),
        FunctionStep("Add", (1, 1.0)),
    )  # exact but for the last rounding
    kernel = conv2d(
        case,
        p.attributes(),
        residual=residual,
        finish=ActivationFinish(clip=(-1.0, 3.0), function=function),
    ).build(mk)
    memory = run(kernel, name, [p.x.memory(), p.other.memory()], p.y, case.pieces)
    expected = np.clip(np.maximum(p.sums, 0) + p.other.values, -1.0, 3.0) * 2 + 1
    assert_within(memory, p.y, expected, 2 * p.bound + 16 * UNIT * (1 + np.abs(p.other.values)))


@floats_here
@given(cases() | cases(depthwise=True), st.integers(0))
@few
def test_every_register_tile_gives_the_sums(name: str, case: Case, tile: int) -> None:
    mk, p = microkernel(name), Problem(case)
    kernel = conv2d(case, p.attributes())
    every = kernel.tiles(mk)
    chosen = every[tile % len(every)]
    memory = run(
        conv2d(case, p.attributes(), tile=chosen).build(mk), name, [p.x.memory()], p.y, case.pieces
    )
    assert_within(memory, p.y, p.sums, p.bound + chosen.splits * UNIT * np.abs(p.sums))
