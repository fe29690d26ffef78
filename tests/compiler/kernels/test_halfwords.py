"""Kernels on products of 16 bits: their plans against plain sums; the code is tested with all."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis.strategies import sampled_from

from edgekiln.compiler.kernels.conv2d import widened_plan
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.conv2d.widened_plan import ITEM_BYTES, WidenedPlan
from edgekiln.compiler.kernels.depthwise.kernel import DepthwiseKernel
from edgekiln.compiler.kernels.depthwise.pairs_plan import PairsPlan
from edgekiln.targets.isa.arm_dsp import ARM_DSP
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.x86_avx2 import AVX2
from edgekiln.targets.isa.x86_sse41 import SSE41
from tests.compiler.kernels import harness
from tests.compiler.kernels.convolutions import Case, Problem, cases
from tests.compiler.kernels.harness import Array, microkernel, run, thorough

# What a convolution's call may take of the stack beside its sums.
MOST_BYTES = {ARM_DSP: 5120, AVX2: 32 << 10, SSE41: 24 << 10}
ONE_PIXEL = Case(
    seed=0, n=1, size=(1, 1), groups=1, channels=(64, 32), kernel=(1, 1), strides=(1, 1),
    dilations=(1, 1), pads=(0, 0, 0, 0), zeros=("some", "some"), data="random", halos=(0, 0),
    clipped=False, pieces=1,
)  # fmt: skip


def convolution(case: Case) -> ConvolutionKernel:
    p = Problem(case, "int8")
    return ConvolutionKernel(y=p.y.tensor, finish=p.finish, groups=case.groups, **p.attributes())


def summed(plan: PairsPlan, column: Array, row: int) -> int:
    """What the terms of an output row make of a column of one pixel, by the filter's first tap."""
    weights = plan.packed_weights().reshape(-1, plan.kw, len(plan.pairs), 2)[0, 0].astype(int)
    words = [[*column[list(rows)], 0][:2] for rows in plan.words(plan.rows)]
    total = 0
    for term in plan.terms(row):
        word, pair = words[term.word], weights[term.weights]
        if term.halves is None:
            total += int(word[0] * pair[0] + word[1] * pair[1])
        else:
            of_word, of_pair = (("bottom", "top").index(half) for half in term.halves)
            total += int(word[of_word] * pair[of_pair])
    return total


@given(cases(depthwise=True))
@thorough
def test_words_of_rows_meet_the_weights_of_every_tap_once(case: Case) -> None:
    p = Problem(case, "int8")
    plan = PairsPlan(DepthwiseKernel(y=p.y.tensor, finish=p.finish, **p.attributes()), ARM_DSP)
    taps = plan.conv.weight[0, 0, :, 0].astype(int)
    column = np.random.default_rng(case.seed).integers(-128, 128, plan.height(plan.rows))
    starts = [row * case.strides[0] for row in range(plan.rows)]
    expected = [int(column[start : start + plan.kh] @ taps) for start in starts]
    assert [summed(plan, column, row) for row in range(plan.rows)] == expected


def test_a_band_of_two_rows_takes_two_words_of_weights_a_tap() -> None:
    case = replace(ONE_PIXEL, size=(6, 6), groups=8, channels=(1, 1), kernel=(3, 3))
    p = Problem(case, "int8")
    plan = PairsPlan(DepthwiseKernel(y=p.y.tensor, finish=p.finish, **p.attributes()), ARM_DSP)
    assert plan.rows == 2
    assert plan.pairs == [(0, 1), (1, 2)]
    assert [len(plan.terms(row)) for row in range(2)] == [2, 2]


@given(cases(), sampled_from(sorted(MOST_BYTES, key=lambda mk: mk.name)))
@thorough
def test_a_widened_strip_holds_what_its_tiles_read_and_fits_the_stack(
    case: Case, mk: MicroKernel
) -> None:
    conv = convolution(case)
    assume(widened_plan.applies(conv, mk))
    plan = WidenedPlan(conv, mk)
    assert plan.kh * plan.pitch * ITEM_BYTES <= MOST_BYTES[mk]
    assert plan.tile.pixels <= plan.strip <= plan.pixels
    assert plan.work == (-(-plan.pixels // plan.strip) if plan.joined else conv.y.n * conv.y.h)
    last = (plan.strip - 1) * case.strides[1] * conv.x.c + plan.steps * plan.mk.k_step
    assert last <= plan.pitch


@pytest.mark.parametrize("stride", [1, 2])
def test_the_items_of_one_row_are_one_whatever_its_channels(stride: int) -> None:
    case = replace(ONE_PIXEL, size=(1, 9), channels=(8, 40), kernel=(1, 3), strides=(1, stride))
    plan = WidenedPlan(convolution(case), ARM_DSP)
    assert (plan.work, plan.by_channels) == (1, False)
    assert sum(block.count for block in plan.layout) > 1


@pytest.mark.parametrize("mk", MOST_BYTES, ids=lambda mk: mk.name)
def test_weights_are_widened_where_they_serve_several_pixels_and_may_take_more_bytes(
    mk: MicroKernel,
) -> None:
    alone = convolution(ONE_PIXEL)
    several = convolution(replace(ONE_PIXEL, size=(4, 4)))
    compact = replace(several, compact=True)
    chosen = [conv.build(mk).constants[0].dtype for conv in (alone, several, compact)]
    assert chosen == [np.int8, np.int16, np.int8]


# Whole rows and what is left over, loops over both, weights of one byte and of two.
SHAPES: dict[str, dict[str, Any]] = {
    "one product": {"channels": (1, 1)},
    "lone, left over": {"channels": (131, 7)},
    "lone, rows": {"size": (3, 3), "channels": (20, 5), "kernel": (3, 3)},
    "short": {"size": (5, 7), "channels": (8, 3)},
    "long": {"size": (3, 4), "channels": (70, 5)},
    "rows in one": {"size": (6, 9), "channels": (3, 4), "kernel": (3, 3), "strides": (2, 2)},
    "rows": {"size": (5, 6), "channels": (24, 5), "kernel": (3, 3)},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["arm_dsp", "arm_dsp_m7"])
def test_a_loop_in_assembly_reads_what_was_widened_before_it(name: str, shape: str) -> None:
    mk = microkernel(name)
    p = Problem(replace(ONE_PIXEL, **SHAPES[shape]), "int8")
    conv = ConvolutionKernel(y=p.y.tensor, finish=p.finish, **p.attributes())
    conv = replace(conv, tile=WidenedPlan(conv, mk).tile)
    memory = run(conv.build(mk), name, [p.x.memory()], p.y.tensor, 1)
    harness.assert_codes(memory, p.expected())
