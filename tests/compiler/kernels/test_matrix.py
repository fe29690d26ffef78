"""Kernels on tiles agree with their oracles whatever the tile: the vectors' bits, on AMX."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Halo, Nhwc
from edgekiln.compiler.kernels import matrix
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.epilogue.finish import DequantizeFinish, RequantizeFinish
from edgekiln.targets import isa
from edgekiln.targets.isa.base import MicroKernel
from tests.compiler.kernels import harness
from tests.compiler.kernels.convolutions import Case, Problem, cases
from tests.compiler.kernels.harness import Codes, microkernel, run
from tests.compiler.kernels.test_matmul import SIZES, check_exact

AMX = "x86_amx"
CYCLES = st.sampled_from([1.0, 16.0, 300.0])
some = settings(harness.quick, max_examples=15)


def tiled(
    dot: float = 16.0, load: float = 8.0, stream: float = 16.0, late: float = 52.0
) -> MicroKernel:
    """Vectors are so slow that everything goes to tiles, of a shape that the cycles decide."""
    mk = microkernel(AMX)
    assert mk.matrix
    unit = replace(
        mk.matrix, dot_cycles=dot, load_cycles=load, stream_cycles=stream, dot_latency=late
    )
    return replace(mk, dots_per_cycle=1e-6, matrix=unit)


MACHINES = st.builds(tiled, CYCLES, CYCLES, CYCLES, CYCLES)


def check_convolution(case: Case, mk: MicroKernel, tile: int | None = None) -> None:
    """`tile` counts into the tiles that the convolution may have, round and round."""
    p = Problem(case, mk.activation)
    conv = ConvolutionKernel(y=p.y.tensor, finish=p.finish, groups=case.groups, **p.attributes())
    if tile is not None:
        every = conv.tiles(mk)
        conv = replace(conv, tile=every[tile % len(every)])
    memory = run(conv.build(mk), AMX, [p.x.memory()], p.y.tensor, case.pieces)
    harness.assert_codes(memory, p.expected())


@given(cases(), MACHINES)
@some
def test_convolution_agrees_with_onnx_runtime(case: Case, mk: MicroKernel) -> None:
    check_convolution(case, mk)


@given(cases(), st.integers(0))
@some
def test_every_choice_of_a_tile_gives_the_same_bits(case: Case, tile: int) -> None:
    check_convolution(case, microkernel(AMX), tile)


@pytest.mark.slow
@given(cases(), MACHINES)
@harness.thorough
def test_convolutions_by_the_thousand(case: Case, mk: MicroKernel) -> None:
    check_convolution(case, mk)


@given(cases(), MACHINES)
@some
def test_a_fused_residual_gives_the_bits_of_the_two_kernels(case: Case, mk: MicroKernel) -> None:
    p = Problem(case, mk.activation)
    fused, other, total = p.residual()
    clip = harness.bounds(total.dtype)
    conv = ConvolutionKernel(
        y=total,
        finish=RequantizeFinish(mult=p.mult, clip=clip),
        residual=fused,
        groups=case.groups,
        **p.attributes(),
    )
    memory = run(conv.build(mk), AMX, [p.x.memory(), other.memory()], total, case.pieces)
    own = replace(p.expected(), tensor=p.y.tensor)
    harness.assert_codes(memory, Codes(total, harness.summed(own, other, total, clip)))


@given(cases(), MACHINES)
@some
def test_float_results_are_the_scaled_exact_sums(case: Case, mk: MicroKernel) -> None:
    p = Problem(case, mk.activation)
    n, c, h, w = p.oracle_shape
    out = Nhwc(n=n, h=h, w=w, c=c, dtype="float32")
    mult = (p.x_scale * p.w_scale).astype(np.float32)
    conv = ConvolutionKernel(
        y=out, finish=DequantizeFinish(mult=mult), groups=case.groups, **p.attributes()
    )
    memory = run(conv.build(mk), AMX, [p.x.memory()], out, case.pieces)
    expected = p.sums().astype(np.float32) * mult[:, None, None]
    np.testing.assert_array_equal(memory, expected.transpose(0, 2, 3, 1).reshape(-1))


@given(
    batch=st.sampled_from([(), (2, 3)]),
    size=st.tuples(SIZES, st.sampled_from([1, 3, 16, 63, 64, 65, 130, 200]), SIZES),
    transposed=st.booleans(),
    as_float=st.booleans(),
    seed=st.integers(0, 2**16),
    mk=MACHINES,
)
@some
def test_products_of_activations_are_exact(
    batch: tuple[int, ...], size: tuple[int, int, int], transposed: bool, as_float: bool, seed: int,
    mk: MicroKernel,
) -> None:  # fmt: skip
    check_exact(mk, AMX, batch, size, transposed, as_float, seed)


@given(size=st.tuples(SIZES, SIZES, SIZES), tile=st.integers(0))
@some
def test_every_choice_of_a_products_tile_gives_the_same_bits(
    size: tuple[int, int, int], tile: int
) -> None:
    check_exact(microkernel(AMX), AMX, (2,), size, False, False, seed=1, tile=tile)


@pytest.mark.slow
@given(
    batch=st.sampled_from([(), (2, 3)]),
    size=st.tuples(st.integers(1, 200), st.integers(1, 300), st.integers(1, 200)),
    transposed=st.booleans(),
    as_float=st.booleans(),
    seed=st.integers(0, 2**16),
    mk=MACHINES,
)
@harness.thorough
def test_products_by_the_thousand(
    batch: tuple[int, ...], size: tuple[int, int, int], transposed: bool, as_float: bool, seed: int,
    mk: MicroKernel,
) -> None:  # fmt: skip
    check_exact(mk, AMX, batch, size, transposed, as_float, seed)


def convolution(size: int, channels: tuple[int, int], kernel: int) -> ConvolutionKernel:
    pad, (ic, oc) = kernel // 2, channels
    border = Halo(top=pad, left=pad, bottom=pad, right=pad)
    x = Nhwc(
        n=1, h=size, w=size, c=ic, dtype="uint8", scale=0.1, zero_point=0, halo=border
    )  # fmt: skip
    return ConvolutionKernel(
        x=x, y=replace(x, c=oc), weight=np.ones((oc, ic, kernel, kernel), np.int8),
        bias=np.zeros(oc, np.int32), pads=(pad, pad),
        finish=RequantizeFinish(mult=np.ones(oc, np.float32)),
    )  # fmt: skip


def on_tiles(conv: ConvolutionKernel) -> bool:
    """Whether its code configures tiles."""
    return "ldtilecfg" in str(conv.build(isa.load(AMX)).func.script())


@pytest.mark.parametrize(
    ("conv", "expected"),
    [
        pytest.param(convolution(56, (64, 64), 3), True, id="3x3"),
        pytest.param(convolution(7, (512, 512), 3), True, id="small image"),
        pytest.param(convolution(56, (64, 256), 1), True, id="1x1"),
        pytest.param(convolution(16, (64, 128), 1), True, id="few rows"),
        pytest.param(convolution(1, (64, 64), 1), False, id="one short row"),
    ],
)
def test_a_layer_goes_to_tiles_where_they_take_fewer_cycles(
    conv: ConvolutionKernel, expected: bool
) -> None:
    assert on_tiles(conv) is expected


def test_a_choice_is_between_the_best_of_both_whichever_is_the_default() -> None:
    for conv, default in ((convolution(56, (64, 64), 3), "matrix"),
                          (convolution(1, (64, 64), 1), "direct")):  # fmt: skip
        best = [tile.algorithm for tile in conv.tiles(isa.load(AMX))[:3]]
        assert best[0] == default
        assert set(best) >= {"direct", "matrix"}


@given(st.integers(1, 5000))
def test_steps_share_k_evenly_and_read_no_more_than_a_register_behind_it(run: int) -> None:
    unit = isa.load(AMX).matrix
    assert unit
    size = matrix.depth(unit, run)
    steps = -(-run // size)
    assert size % 4 == 0
    assert size <= unit.row_bytes
    assert steps == -(-run // unit.row_bytes)
    assert 0 <= steps * size - run < unit.row_bytes
