"""Convolution of bytes in pairs: the bits of ONNX Runtime whatever the weights, and only where it
pays.
"""

import re
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.aot.codegen import compile_function
from edgekiln.compiler.ir.memory import Halo, Nhwc
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.conv2d.paired import PairedConvolutionKernel, cheapest
from edgekiln.compiler.kernels.conv2d.pairing import steps_of
from edgekiln.compiler.kernels.depthwise.kernel import DepthwiseKernel
from edgekiln.compiler.kernels.depthwise.paired import PairedDepthwiseKernel, in_pairs
from edgekiln.compiler.kernels.epilogue.finish import RequantizeFinish
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets import isa
from tests.compiler.kernels import harness
from tests.compiler.kernels.convolutions import Case, Problem, cases
from tests.compiler.kernels.harness import Array, Codes, microkernel, quick, run

paired = pytest.mark.parametrize("name", ["x86_avx2", "x86_sse41"])
# Weights of a trained layer, pairs that just fit or just do not, and the ends of their range.
KINDS = st.sampled_from(["trained", "halves", "ends", "sparse", "as they are"])


def weights(kind: str, shape: tuple[int, ...], given: Array, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    drawn: Array
    match kind:
        case "trained":
            drawn = rng.laplace(scale=25, size=shape)
        case "halves":
            drawn = rng.choice(np.array([-65, -64, 63, 64, 65]), shape)
        case "ends":
            drawn = rng.choice(np.array([-128, -127, 0, 1, 127]), shape)
        case "sparse":
            drawn = rng.integers(-128, 128, shape) * (rng.random(shape) < 0.1)
        case _:
            return given
    return np.clip(np.rint(drawn), -128, 127).astype(np.int8)


@paired
@given(case=cases(), kind=KINDS)
@quick
def test_convolution_agrees_with_onnx_runtime(name: str, case: Case, kind: str) -> None:
    mk = microkernel(name)
    p = Problem(case, mk.activation)
    p.weight = weights(kind, p.weight.shape, p.weight, case.seed)
    conv = PairedConvolutionKernel(
        y=p.y.tensor, finish=p.finish, groups=case.groups, **p.attributes()
    )
    memory = run(conv.build(mk), name, [p.x.memory()], p.y.tensor, case.pieces)
    harness.assert_codes(memory, p.expected())


@paired
@given(case=cases(), kind=KINDS, choice=st.integers(0, 50))
@quick
def test_every_tile_and_a_residual_give_the_same_bits(
    name: str, case: Case, kind: str, choice: int
) -> None:
    mk = microkernel(name)
    p = Problem(case, mk.activation)
    p.weight = weights(kind, p.weight.shape, p.weight, case.seed)
    fused, other, total = p.residual()
    clip = harness.bounds(total.dtype)
    conv = PairedConvolutionKernel(
        y=total, finish=RequantizeFinish(mult=p.mult, clip=clip), groups=case.groups,
        residual=fused, **p.attributes(),
    )  # fmt: skip
    tiles = conv.tiles(mk)
    conv = replace(conv, tile=tiles[choice % len(tiles)])
    memory = run(conv.build(mk), name, [p.x.memory(), other.memory()], total, case.pieces)
    own = replace(p.expected(), tensor=p.y.tensor)
    harness.assert_codes(memory, Codes(total, harness.summed(own, other, total, clip)))


@given(
    seed=st.integers(0, 2**16), channels=st.integers(1, 24), taps=st.integers(1, 4),
    run_=st.integers(1, 40), kind=KINDS,
)  # fmt: skip
@quick
def test_no_pair_can_saturate_and_every_weight_has_one_place(
    seed: int, channels: int, taps: int, run_: int, kind: str
) -> None:
    shape = (channels, taps * run_)
    given_ = np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)
    layer = weights(kind, shape, given_, seed)
    elements = steps_of(layer, taps).elements
    chosen = np.where(elements >= 0, np.abs(layer.astype(int))[:, elements.clip(0)], 0)
    assert (chosen.reshape(channels, -1, 2).sum(axis=2) <= 128).all()
    found = np.sort(elements[elements >= 0])
    assert len(np.unique(found)) == len(found)
    # What has no place is 0 in every channel.
    assert not layer[:, np.setdiff1d(np.arange(taps * run_), found)].any()


def fitting(filters: Array) -> Array:
    """Filters, (C, 1, KH, KW), whose columns of three rows are as large as they may be, or less."""
    cut = filters.astype(int)
    for top in range(0, cut.shape[2], 3):
        first, *rest = np.moveaxis(cut[:, :, top : top + 3], 2, 0)
        left = 256 - np.abs(first)
        for row in rest:  # views: what does not fit is cut off
            row[...] = np.clip(row, -left, left)
            left = left - np.abs(row)
    return cut.astype(np.int8)


@paired
@given(case=cases(depthwise=True), kind=KINDS, choice=st.integers(0, 50), fuse=st.booleans())
@quick
def test_depthwise_convolution_agrees_with_onnx_runtime(
    name: str, case: Case, kind: str, choice: int, fuse: bool
) -> None:
    mk = microkernel(name)
    p = Problem(case, mk.activation)
    p.weight = fitting(weights(kind, p.weight.shape, p.weight, case.seed))
    fused, other, total = p.residual()
    clip = harness.bounds(total.dtype)
    conv = in_pairs(
        DepthwiseKernel(y=p.y.tensor, finish=p.finish, **p.attributes())
        if not fuse
        else DepthwiseKernel(
            y=total, finish=RequantizeFinish(mult=p.mult, clip=clip), residual=fused,
            **p.attributes(),
        ),
        mk,
    )  # fmt: skip
    assert isinstance(conv, PairedDepthwiseKernel)
    tiles = conv.tiles(mk)
    conv = replace(conv, tile=tiles[choice % len(tiles)])
    inputs = [p.x.memory(), other.memory()] if fuse else [p.x.memory()]
    memory = run(conv.build(mk), name, inputs, conv.y, case.pieces)
    own = p.expected()
    if fuse:
        own = Codes(
            total, harness.summed(replace(own, tensor=p.y.tensor), other, total, clip)
        )  # fmt: skip
    harness.assert_codes(memory, own)


def filters(*column: int) -> DepthwiseKernel:
    """Of 32 channels, 3×3, one of which has such a column."""
    weight = np.full((32, 1, 3, 3), 85, np.int8)
    weight[17, 0, :, 1] = column
    x = Nhwc(n=1, h=12, w=12, c=32, dtype="uint8", halo=harness.halo(0, 1, 1, 1, 1))
    return DepthwiseKernel(
        x=x, y=replace(x, halo=Halo()), weight=weight, bias=np.zeros(32, np.int32), pads=(1, 1),
        finish=RequantizeFinish(mult=np.full(32, 0.01, np.float32)),
    )  # fmt: skip


@paired
@pytest.mark.parametrize(
    ("column", "fits"),
    [
        ((127, 2, 127), True), ((-128, -128, 0), True), ((0, -128, 128 - 1), True),
        ((-86, 85, -85), True), ((127, 3, 127), False), ((86, 86, -85), False),
    ],
)  # fmt: skip
def test_a_column_that_would_saturate_leaves_the_layer_with_words(
    name: str, column: tuple[int, ...], fits: bool
) -> None:
    conv = filters(*column)
    assert isinstance(in_pairs(conv, isa.load(name)), PairedDepthwiseKernel) == fits


def instructions(kernel: Kernel, name: str, home: Path) -> Counter[str]:
    """How often each is in the machine code."""
    (home / "kernel.o").write_bytes(
        compile_function(kernel.func, "kernel", harness.TARGETS[name][0]).object
    )
    command = ["objdump", "-d", "--no-show-raw-insn", "-j.text", "kernel.o"]
    text = subprocess.run(command, cwd=home, check=True, capture_output=True, text=True).stdout
    return Counter(re.findall(r"^ +[0-9a-f]+:\s+(\S+)", text, re.MULTILINE))


@paired
def test_pairs_take_fewer_instructions_than_words_and_no_function(
    name: str, tmp_path: Path
) -> None:
    conv, mk = filters(0, 0, 0), isa.load(name)
    words, pairs = (
        instructions(kernel.build(mk), name, tmp_path) for kernel in (conv, in_pairs(conv, mk))
    )
    assert not {each for each in words | pairs if each.startswith("call")}
    # Nine taps of three rows: six dot products of words, three of bytes.
    multiplied, added = (
        [sum(count for each, count in code.items() if kind in each) for code in (words, pairs)]
        for kind in ("pmadd", "paddd")
    )
    assert multiplied[0] == multiplied[1] == 2 * added[1] == added[0] > 0
    assert pairs.total() < 0.85 * words.total()


def layer(weight: Array) -> ConvolutionKernel:
    oc, ic, *_ = weight.shape
    x = Nhwc(n=1, h=24, w=24, c=ic, dtype="uint8")
    return ConvolutionKernel(
        x=x, y=replace(x, c=oc), weight=weight, bias=np.zeros(oc, np.int32),
        finish=RequantizeFinish(mult=np.full(oc, 0.01, np.float32)),
    )  # fmt: skip


@paired
def test_weights_decide_whether_it_pays(name: str) -> None:
    mk, rng = isa.load(name), np.random.default_rng(1)
    small = rng.integers(-60, 61, (64, 64, 1, 1)).astype(np.int8)
    large = rng.choice(np.array([-127, 127], np.int8), (64, 64, 1, 1))
    assert isinstance(cheapest(layer(small), mk), PairedConvolutionKernel)
    assert isinstance(cheapest(layer(large), mk), ConvolutionKernel)


def test_chips_with_a_dot_product_of_bytes_have_no_use_for_it() -> None:
    small = layer(np.ones((64, 64, 1, 1), np.int8))
    for name in ("x86_vnni", "x86_avx_vnni", "arm_dotprod", "arm_neon", "generic_u8"):
        assert cheapest(small, isa.load(name)) is small


@paired
def test_layers_with_other_weights_share_the_code(name: str) -> None:
    mk, rng = isa.load(name), np.random.default_rng(2)
    kernels: list[Any] = [
        PairedConvolutionKernel.of(layer(rng.integers(-size, size, (32, 24, 1, 1)).astype(np.int8)))
        for size in (20, 60, 127)
    ]
    built = [kernel.build(mk) for kernel in kernels]
    assert len({kernel.code.signature for kernel in built}) == 1
    # More steps are more weights, not more code.
    assert built[0].constants[0].size < built[2].constants[0].size


@paired
def test_filters_with_other_weights_share_the_code(name: str) -> None:
    mk = isa.load(name)
    kernels = [in_pairs(filters(*column), mk) for column in ((0, 0, 0), (-128, 0, 127))]
    assert len({kernel.build(mk).code.signature for kernel in kernels}) == 1
    words = filters(0, 0, 0).build(mk)
    assert words.code.signature != kernels[0].build(mk).code.signature
