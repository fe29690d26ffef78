"""Codes of 16 bits on every micro-kernel, bit by bit: exact sums, and ONNX's own arithmetic."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.depthwise.kernel import DepthwiseKernel
from edgekiln.compiler.kernels.epilogue.finish import DequantizeFinish, RequantizeFinish
from edgekiln.compiler.kernels.epilogue.sums import ResidualOperand
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.onnx_model.requantize import multiplier
from tests.compiler.kernels import harness
from tests.compiler.kernels.convolutions import Case, cases
from tests.compiler.kernels.convolutions import Problem as OfBytes
from tests.compiler.kernels.harness import Array, Codes, microkernel, quick, run
from tests.compiler.kernels.words import HERE, TYPES, everywhere, few, of, words

MOST_SUM = (1 << 31) - 1


class Problem:
    """A case's tensors, and its exact sums."""

    def __init__(self, case: Case, dtype: str) -> None:
        self.case, rng = case, np.random.default_rng(case.seed)
        self.rng = rng
        ic, oc = (count * case.groups for count in case.channels)
        shape = (oc, case.channels[0], *case.kernel)
        taps = int(np.prod(shape[1:]))
        low, high = harness.bounds("int16")
        zero = {"low": -7, "high": 0, "some": int(rng.integers(-900, 900))}[case.zeros[0]]
        self.bias = rng.integers(-(1 << 24), 1 << 24, oc).astype(np.int32)
        # As `passes.words` asks: no sum may leave 32 bits.
        most = min(127, (MOST_SUM - (1 << 24)) // (taps * (high - low - 32768 + 900)))
        self.weight = rng.integers(-most, most + 1, shape).astype(np.int8)
        codes = rng.integers(low, high + 1, (case.n, ic, *case.size)).astype(np.int16)
        if case.data == "saturating":
            codes[...] = rng.choice([low, high])
            self.weight[...] = np.where(rng.random((oc, 1, 1, 1)) < 0.5, -most, most)
        self.x_scale = np.float32(rng.uniform(1e-5, 1e-3))
        self.w_scale = rng.uniform(0.001, 0.02, oc).astype(np.float32)
        top, left, bottom, right = case.pads
        border = harness.halo(case.halos[0], top, left, bottom, right)
        h, w = case.size
        self.x = Codes(
            Nhwc(n=case.n, h=h, w=w, c=ic, dtype="int16", scale=float(self.x_scale),
                 zero_point=zero, halo=border),
            codes,
        )  # fmt: skip
        self.sums = self._exact()
        self.dtype = dtype
        n, _, oh, ow = self.sums.shape
        y_low, y_high = harness.bounds(dtype)
        self.clip = (y_low, y_high)
        if case.clipped:
            a, b = sorted(int(v) for v in rng.integers(y_low, y_high + 1, 2))
            self.clip = (a, b)
        steps = 200.0 if dtype != "int16" else 50000.0
        spread = float(np.abs(self.sums).max() + 1) * float(self.x_scale * self.w_scale.mean())
        self.y = Nhwc(
            n=n, h=oh, w=ow, c=oc, dtype=dtype, scale=float(np.float32(spread / steps)),
            zero_point=int(rng.integers(y_low // 2, y_high // 2)),
            halo=harness.halo(case.halos[1], 0, 0, 0, 0),
        )  # fmt: skip

    def _exact(self) -> Array:
        """In float64, which has whole numbers up to 2⁵³."""
        case, x = self.case, self.x
        top, left, bottom, right = case.pads
        centred = torch.from_numpy(x.values.astype(np.float64) - x.tensor.zero_point)
        padded = torch.nn.functional.pad(centred, (left, right, top, bottom))
        filters = torch.from_numpy(self.weight.astype(np.float64))
        sums = torch.nn.functional.conv2d(
            padded, filters, None, case.strides, 0, case.dilations, case.groups
        )
        result: Array = sums.numpy().astype(np.int64) + self.bias[:, None, None]
        assert np.abs(result).max() <= MOST_SUM
        return result

    @property
    def mult(self) -> Array:
        return multiplier(float(self.x_scale), self.w_scale, self.y.scale)

    def steps(self, mult: Array) -> Array:
        return self.sums.astype(np.float32) * mult[:, None, None]

    def kernel(self, **more: Any) -> ConvolutionKernel | DepthwiseKernel:
        case = self.case
        common: dict[str, Any] = {
            "x": self.x.tensor, "y": self.y, "weight": self.weight, "bias": self.bias,
            "strides": case.strides, "dilations": case.dilations, "pads": case.pads[:2], **more,
        }  # fmt: skip
        if case.channels == (1, 1) and case.groups > 1:
            return DepthwiseKernel(**common)
        return ConvolutionKernel(groups=case.groups, **common)


@everywhere
@given(cases() | cases(depthwise=True), TYPES)
@quick
def test_convolutions_have_the_codes_of_exact_sums(name: str, case: Case, dtype: str) -> None:
    mk, activation = words(name)
    p = Problem(case, of(dtype, activation))
    kernel = p.kernel(finish=RequantizeFinish(mult=p.mult, clip=p.clip))
    memory = run(built(kernel, mk), name, [p.x.memory()], p.y, case.pieces)
    harness.assert_codes(memory, Codes(p.y, harness.requantized(p.steps(p.mult), p.y, p.clip)))


@everywhere
@given(cases() | cases(depthwise=True), st.integers(0))
@few
def test_every_register_tile_has_them(name: str, case: Case, tile: int) -> None:
    mk, _ = words(name)
    p = Problem(case, "int16")
    kernel = p.kernel(finish=RequantizeFinish(mult=p.mult, clip=p.clip))
    every = kernel.tiles(mk)
    kernel = replace(kernel, tile=every[tile % len(every)])
    memory = run(built(kernel, mk), name, [p.x.memory()], p.y, case.pieces)
    harness.assert_codes(memory, Codes(p.y, harness.requantized(p.steps(p.mult), p.y, p.clip)))


@everywhere
@given(cases() | cases(depthwise=True))
@few
def test_a_residual_of_either_type_is_added_to_the_rounded_result(name: str, case: Case) -> None:
    mk, activation = words(name)
    p = Problem(case, "int16")
    low, high = harness.bounds("int16")
    dtype = activation if case.seed % 2 else "int16"
    least, most = harness.bounds(dtype)
    other = Codes(
        replace(p.y, dtype=dtype, scale=p.y.scale * (0.7 if dtype == "int16" else 90.0),
                zero_point=int(p.rng.integers(least // 2, most // 2))),
        p.rng.integers(least, most + 1, p.sums.shape).astype(dtype),
    )  # fmt: skip
    total = replace(
        p.y, scale=float(np.float32(p.y.scale * 1.3)), zero_point=int(p.rng.integers(-9, 9))
    )
    fused = ResidualOperand(
        tensor=other.tensor, scale=p.y.scale, zero_point=p.y.zero_point, clip=p.clip
    )
    finish = RequantizeFinish(mult=p.mult, clip=(low, high))
    kernel = p.kernel(y=total, finish=finish, residual=fused)
    memory = run(built(kernel, mk), name, [p.x.memory(), other.memory()], total, case.pieces)
    own = Codes(p.y, harness.requantized(p.steps(p.mult), p.y, p.clip))
    harness.assert_codes(memory, Codes(total, harness.summed(own, other, total, (low, high))))


@everywhere
@given(cases() | cases(depthwise=True))
@few
def test_float_results_are_the_sums_times_their_factor(name: str, case: Case) -> None:
    mk, _ = words(name)
    p = Problem(case, "int16")
    mult = (p.x_scale * p.w_scale).astype(np.float32)
    out = Nhwc(n=p.y.n, h=p.y.h, w=p.y.w, c=p.y.c, dtype="float32")
    kernel = p.kernel(y=out, finish=DequantizeFinish(mult=mult))
    memory = run(built(kernel, mk), name, [p.x.memory()], out, case.pieces)
    np.testing.assert_array_equal(memory, p.steps(mult).transpose(0, 2, 3, 1).reshape(-1))


@pytest.mark.parametrize("name", HERE)
@given(cases() | cases(depthwise=True))
@few
def test_convolutions_of_bytes_give_codes_of_16_bits(name: str, case: Case) -> None:
    mk = microkernel(name)
    p = OfBytes(case, mk.activation)
    n, c, h, w = p.oracle_shape
    scale = float(np.float32(p.y_scale / 150))
    y = Nhwc(n=n, h=h, w=w, c=c, dtype="int16", scale=scale, zero_point=0)
    mult, clip = multiplier(float(p.x_scale), p.w_scale, scale), harness.bounds("int16")
    common: dict[str, Any] = {
        "y": y,
        "finish": RequantizeFinish(mult=mult, clip=clip),
        **p.attributes(),
    }
    depthwise = case.channels == (1, 1) and case.groups > 1
    kernel = (
        DepthwiseKernel(**common) if depthwise else ConvolutionKernel(groups=case.groups, **common)
    )
    memory = run(built(kernel, mk), name, [p.x.memory()], y, case.pieces)
    steps = p.sums().astype(np.float32) * mult[:, None, None]
    harness.assert_codes(memory, Codes(y, harness.requantized(steps, y, clip)))
