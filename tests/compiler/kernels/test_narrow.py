"""Weights of four bits, two in a byte, give the bits that they would give as bytes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.conv2d import narrow, narrow_blocks
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.epilogue.finish import ActivationFinish
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.onnx_model import weight_blocks
from edgekiln.targets import isa
from edgekiln.targets.isa.base import MicroKernel
from tests.compiler.kernels import harness
from tests.compiler.kernels.convolutions import Case, Problem, cases
from tests.compiler.kernels.floats import random_floats
from tests.compiler.kernels.harness import (
    Array,
    everywhere,
    floats_everywhere,
    microkernel,
    quick,
    run,
)


class NarrowProblem(Problem):
    """A convolution whose weights have four bits."""

    def __init__(self, case: Case, dtype: str) -> None:
        super().__init__(case, dtype)
        self.weight = narrowed(self.weight)

    def for_chip(self, mk: MicroKernel) -> None:
        """Without the lowest code, where the chip's products want more for it."""
        if not narrow.stay_narrow(self.weight, mk):
            self.weight = self.weight.clip(-7)


def narrowed(weight: Array) -> Array:
    """The ends of eight bits become those of four; all codes come up."""
    return (weight >> 4).astype(np.int8)


def test_a_pair_of_the_lowest_codes_that_wants_more_bits_stays_bytes() -> None:
    mk = isa.load("arm_v6m")
    p = NarrowProblem(dense_case(1, 4, 64, 64), mk.activation)
    p.weight[0, :2] = -8
    conv = ConvolutionKernel(y=p.y.tensor, finish=p.finish, **p.attributes())
    assert not conv.in_four_bits(mk).narrow
    assert replace(conv, weight=conv.weight.clip(-7)).in_four_bits(mk).narrow
    assert conv.in_four_bits(isa.load("arm_dsp")).narrow


@everywhere
@given(cases(), st.integers(0, 1 << 16))
@quick
def test_a_convolution_of_four_bits_agrees_with_onnx_runtime(
    name: str, case: Case, tile: int
) -> None:
    mk = microkernel(name)
    p = NarrowProblem(case, mk.activation)
    p.for_chip(mk)
    conv = ConvolutionKernel(
        y=p.y.tensor, finish=p.finish, groups=case.groups, narrow=True, **p.attributes()
    )
    every = conv.tiles(mk)
    for chosen in {None, every[tile % len(every)]}:
        memory = run(
            built(replace(conv, tile=chosen), mk), name, [p.x.memory()], p.y.tensor, case.pieces
        )
        harness.assert_codes(memory, p.expected())


@floats_everywhere
@given(
    st.integers(0, 1 << 16), st.sampled_from([1, 2, 5, 14]), st.sampled_from([37, 64, 130]),
    st.sampled_from([1, 3, 16, 33, 48]), st.sampled_from([16, 32, 128]), st.integers(0, 1 << 16),
)  # fmt: skip
@settings(quick, max_examples=6)
def test_floats_of_four_bits_have_the_bits_of_those_that_they_are(
    name: str, seed: int, rows: int, k: int, channels: int, size: int, tile: int
) -> None:
    mk, rng = microkernel(name), np.random.default_rng(seed)
    steps = rng.integers(-8, 8, (channels, k)).astype(np.float32)
    scales = rng.uniform(0.01, 1, (channels, -(-k // size))).astype(np.float32)
    weight = (steps * np.repeat(scales, size, axis=1)[:, :k])[:, :, None, None]
    x = random_floats(rng, Nhwc(n=1, h=1, w=rows, c=k, dtype="float32"))
    conv = ConvolutionKernel(
        x=x.tensor, y=Nhwc(n=1, h=1, w=rows, c=channels, dtype="float32"), weight=weight,
        bias=rng.normal(size=channels).astype(np.float32), finish=ActivationFinish(),
    )  # fmt: skip
    small = replace(conv, narrow=True, block=size)
    every = small.tiles(mk)
    chosen = every[tile % len(every)]
    found, expected = (
        run(replace(each, tile=chosen).build(mk), name, [x.memory()], conv.y)
        for each in (small, conv)
    )
    np.testing.assert_array_equal(found, expected)


@everywhere
@given(
    st.integers(0, 1 << 16), st.sampled_from([1, 2, 5, 14]), st.sampled_from([40, 64, 130]),
    st.sampled_from([1, 3, 16, 33, 48]), st.sampled_from([32, 64]), st.integers(0, 1 << 16),
)  # fmt: skip
@settings(quick, max_examples=4)
def test_codes_in_blocks_have_onnx_runtimes_bits(
    name: str, seed: int, rows: int, k: int, channels: int, size: int, tile: int
) -> None:
    mk = microkernel(name)
    if not narrow_blocks.fits(convolution(seed, rows, k, channels, mk.activation), mk.products):
        pytest.skip("its weights do not lie byte by byte")
    p = BlockedProblem(dense_case(seed, rows, k, channels), mk.activation, size)
    conv = ConvolutionKernel(
        y=p.y.tensor, finish=p.finish, narrow=True, block=size, **p.attributes()
    )
    every = conv.tiles(mk)
    for chosen in (None, every[tile % len(every)]):
        kernel = built(replace(conv, tile=chosen), mk)
        memory = run(kernel, name, [p.x.memory()], p.y.tensor, 2)
        harness.assert_codes(memory, p.expected())


class BlockedProblem(Problem):
    """A dense layer whose weights are codes of four bits times a factor of their block."""

    def __init__(self, case: Case, dtype: str, size: int) -> None:
        super().__init__(case, dtype)
        rows, k = self.weight.shape[:2]
        factors = self.rng.integers(1, weight_blocks.MOST_FACTOR + 1, (rows, -(-k // size)))
        steps = self.rng.integers(-7, 8, (rows, k))
        weight = steps * np.repeat(factors, size, axis=1)[:, :k]
        self.weight = weight.astype(np.int8)[:, :, None, None]


def dense_case(seed: int, rows: int, k: int, channels: int) -> Case:
    return Case(
        seed=seed, n=1, size=(1, rows), groups=1, channels=(k, channels), kernel=(1, 1),
        strides=(1, 1), dilations=(1, 1), pads=(0, 0, 0, 0), zeros=("some", "some"),
        data="random", halos=(0, 0), clipped=bool(seed % 2), pieces=2,
    )  # fmt: skip


def convolution(seed: int, rows: int, k: int, channels: int, dtype: str) -> ConvolutionKernel:
    p = Problem(dense_case(seed, rows, k, channels), dtype)
    return ConvolutionKernel(y=p.y.tensor, finish=p.finish, **p.attributes())


@pytest.mark.parametrize("name", ["arm_dsp", "arm_mve", "arm_v6m"])
def test_a_microcontrollers_stack_has_room_for_what_is_decoded(name: str) -> None:
    mk = isa.load(name)
    for k, fits in ((64, True), (4096, True), (9000, False)):
        p = NarrowProblem(dense_case(1, 1, k, 64), mk.activation)
        p.weight = p.weight.clip(-7)
        conv = ConvolutionKernel(y=p.y.tensor, finish=p.finish, **p.attributes())
        small = conv.in_four_bits(mk)
        assert bool(small.narrow) == fits
        if not fits:
            continue
        plan = small.direct(mk)
        assert plan is not None
        layout = narrow.layout_of(plan)
        most = max(block.channels for block in plan.layout)
        size = np.dtype(layout.dtype).itemsize
        assert most * layout.lane * size <= 16 << 10
