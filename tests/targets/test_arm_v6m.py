"""Armv6-M: its loop over k by an interpreter of the assembly, the upper half of a product."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import SearchStrategy, booleans, builds, integers, just

from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.conv2d import lowest_pairs
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.tir import store
from edgekiln.targets.isa.arm_v6m import ARM_V6M, upper_half
from edgekiln.targets.isa.arm_v6m_loops import MOST_CHANNELS, product_loop
from edgekiln.targets.isa.expressions import load
from edgekiln.targets.isa.halfwords import TileLoop
from tests.compiler.kernels import harness
from tests.compiler.kernels.convolutions import Case, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

X, W = 0x2000_0000, 0x0800_0000  # where the scratch and the weights lie
LOW = {f"r{number}" for number in range(8)}
COUNT = 64
MOST = 2**31 - 1


class Machine:
    """Executes what the loops are made of. What is read must lie inside of the two memories."""

    def __init__(self, x: np.ndarray, w: np.ndarray, registers: dict[str, int]) -> None:
        self.memory = {X: x.tobytes(), W: w.tobytes()}
        self.registers, self.equal, self.carry = registers, False, 0

    def read(self, at: int, size: int, *, signed: bool = False) -> int:
        start = X if at >= X else W
        assert at % size == 0, "no access is aligned by itself"
        assert 0 <= at - start <= len(self.memory[start]) - size, "reads beside what is its own"
        data = self.memory[start][at - start : at - start + size]
        return int.from_bytes(data, "little", signed=signed) % 2**32

    def value(self, operand: str) -> int:
        return int(operand[1:]) if operand.startswith("#") else self.registers[operand]

    def ldm(self, base: str, *to: str) -> None:
        for register in to:
            self.registers[register] = self.read(self.registers[base], 4)
            self.registers[base] += 4

    def ldrh(self, to: str, base: str, offset: str) -> None:
        self.registers[to] = self.read(self.value(base) + self.value(offset), 2)

    def ldrsh(self, to: str, base: str, offset: str) -> None:
        assert offset in LOW, "LDRSH has no offsets but registers"
        self.registers[to] = self.read(self.value(base) + self.value(offset), 2, signed=True)

    def muls(self, to: str, a: str, b: str) -> None:
        assert to == b
        self.registers[to] = self.value(a) * self.value(b) % 2**32

    def asrs(self, to: str, of: str, by: str) -> None:
        value = np.array([self.value(of)], np.uint32).view(np.int32)[0]
        self.carry = int(value) >> (self.value(by) - 1) & 1
        self.registers[to] = (int(value) >> self.value(by)) % 2**32

    def lsls(self, to: str, of: str, by: str) -> None:
        self.registers[to] = (self.value(of) << self.value(by)) % 2**32

    def adcs(self, to: str, of: str) -> None:
        self.registers[to] = (self.value(to) + self.value(of) + self.carry) % 2**32

    def add(self, to: str, *operands: str) -> None:
        a, b = operands if len(operands) == 2 else (to, *operands)
        assert not b.startswith("#") or self.value(b) < 256
        self.registers[to] = (self.value(a) + self.value(b)) % 2**32

    def mov(self, to: str, of: str) -> None:
        self.registers[to] = self.value(of)

    def cmp(self, a: str, b: str) -> None:
        self.equal = self.value(a) == self.value(b)

    def run(self, lines: list[str]) -> None:
        does: dict[str, Callable[..., None]] = {
            "ldm": self.ldm, "ldrh": self.ldrh, "ldrsh": self.ldrsh, "muls": self.muls,
            "asrs": self.asrs, "lsls": self.lsls, "adcs": self.adcs, "add": self.add,
            "adds": self.add, "mov": self.mov, "movs": self.mov, "cmp": self.cmp,
        }  # fmt: skip
        at = 0
        while at < len(lines):
            name, _, text = lines[at].partition(" ")
            operands = re.sub(r"[\[\]{}!]", "", text).split(", ")
            if name in ("b", "beq", "bne"):
                taken = name == "b" or self.equal == (name == "beq")
                place = next(i for i, line in enumerate(lines) if line == f"{text[:-1]}:")
                assert (place < at) == text.endswith("b")
                at = place if taken else at
            elif not name.endswith(":"):
                # All but ADD, MOV and CMP reach the lower registers alone.
                assert name in ("add", "mov", "cmp") or {*operands} & {"r8", "r9"} == set()
                does[name](*operands)
            at += 1


def tiles() -> SearchStrategy[TileLoop]:
    return builds(
        TileLoop,
        pixels=just(1),
        channels=integers(1, MOST_CHANNELS),
        rows=integers(1, 4),
        steps=integers(1, 60),
        pixel_bytes=just(4),
        row_bytes=integers(0, 300).map(lambda words: 4 * words),
        weight_bytes=just(2),
        split=booleans(),
    ).map(lambda tile: replace(tile, row_bytes=4 * tile.steps + tile.row_bytes))


def whole(pairs: np.ndarray) -> np.ndarray:
    """(…, 2) numbers as words, the sum of the first and 2¹⁶ times the second."""
    words = pairs[..., 0].astype(np.int64) + (pairs[..., 1].astype(np.int64) << 16)
    return (words % 2**32).astype(np.uint32)


@given(tiles(), integers(0, 2**32 - 1), booleans())
@settings(max_examples=60, deadline=None)
def test_the_loop_multiplies_a_pixel_with_every_channel(
    tile: TileLoop, seed: int, extreme: bool
) -> None:
    written = product_loop(tile)
    assert written
    rng = np.random.default_rng(seed)

    def numbers(low: int, shape: tuple[int, ...]) -> np.ndarray:
        return rng.choice([low, 0, 127], shape) if extreme else rng.integers(low, 128, shape)

    row = tile.row_bytes // 4
    x, w = (
        numbers(-128, (tile.rows, row, 2)),
        numbers(-127, (tile.rows, tile.steps, tile.channels, 2)),
    )
    given = rng.integers(-(2**31), 2**31, tile.channels)
    products = np.einsum("rsk,rsck->c", x[:, : tile.steps], w)
    memory = whole(x) if tile.split else x.astype(np.int16)
    weights = ARM_V6M.widened.arrange(w.astype(np.int8)) if ARM_V6M.widened else w
    start = 0 if tile.split or seed % 2 else 2  # halves lie anywhere
    memory = np.frombuffer(bytes(start) + memory.tobytes(), np.int16)
    text = re.search(r'asm "(.*?)", "(.*?)"', written.text)
    assert text
    *sums, of_x, of_w = re.findall(r"=&\{(\w+)\}", text[2])
    begin = dict(zip(sums, (int(each) % 2**32 for each in given), strict=True))
    # Nothing else is known at the beginning: what is read before it is written ends the test.
    machine = Machine(memory, weights, {of_x: X + start, of_w: W, **begin})
    machine.run(text[1].split("\\0A"))
    found = np.array([machine.registers[each] for each in sums], np.uint32).view(np.int32)
    wanted = ((given + products) % 2**32).astype(np.uint32).view(np.int32)
    np.testing.assert_array_equal(found, wanted)
    assert set(machine.registers) <= {*sums, of_x, of_w, *re.findall(r"~\{(\w+)\}", text[2])}


def test_what_has_no_room_or_is_not_aligned_has_no_loop() -> None:
    tile = TileLoop(
        pixels=1, channels=4, rows=1, steps=32, pixel_bytes=128, row_bytes=512, weight_bytes=2,
        split=True,
    )  # fmt: skip
    assert product_loop(tile)
    wider, more = replace(tile, pixels=2), replace(tile, channels=MOST_CHANNELS + 1)
    for other in (wider, more, replace(tile, pixel_bytes=6), replace(tile, weight_bytes=1)):
        assert not product_loop(other)
    assert product_loop(replace(tile, pixel_bytes=6, split=False))


@pytest.fixture(scope="module")
def upper() -> "Callable[..., None]":
    """The upper half of COUNT products, by this processor."""
    harness.microkernel("x86_avx2")
    with KernelBuilder() as k:
        a, b, y = (k.tensor(COUNT, "int32") for _ in range(3))
        k.no_items()
        for at in range(COUNT):
            store(y, at, upper_half(load(a, at), load(b, at)), 1)
    return harness.loaded(k.finish(), "x86_avx2")


@given(seed=integers(0, 2**32 - 1), bits=integers(1, 31))
@harness.quick
def test_the_upper_half_of_a_product_is_exact(
    upper: "Callable[..., None]", seed: int, bits: int
) -> None:
    rng = np.random.default_rng(seed)
    of_a, of_b = np.array([-(2**31), -1, 0, 1, MOST]), np.array([0, 1, 0xFFFF, 1 << 16, MOST])
    a = np.where(
        rng.random(COUNT) < 0.2,
        rng.choice(of_a, COUNT),
        rng.integers(-(1 << bits), 1 << bits, COUNT),
    )
    b = np.where(rng.random(COUNT) < 0.2, rng.choice(of_b, COUNT), rng.integers(0, 2**31, COUNT))
    y = np.zeros(COUNT, np.int32)
    upper(a.astype(np.int32), b.astype(np.int32), y)
    np.testing.assert_array_equal(y, a * b >> 32)


CASE = Case(
    seed=0, n=1, size=(3, 3), groups=1, channels=(8, 4), kernel=(1, 1), strides=(1, 1),
    dilations=(1, 1), pads=(0, 0, 0, 0), zeros=("some", "some"), data="random", halos=(0, 0),
    clipped=False, pieces=1,
)  # fmt: skip


@pytest.mark.parametrize(("at", "chosen"), [((), np.int16), ((3, 4), np.int16), ((2, 3), np.int8)])
def test_pairs_of_the_lowest_weights_stay_bytes(at: tuple[int, ...], chosen: type) -> None:
    p = Problem(CASE, "int8")
    p.weight[:] = np.maximum(p.weight, -127)
    p.weight[1, list(at)] = -128
    conv = ConvolutionKernel(y=p.y.tensor, finish=p.finish, **p.attributes())
    assert lowest_pairs.may_be_in(conv.weight) == (chosen is np.int8)
    assert lowest_pairs.may_be_in(conv.erased.weight) == (chosen is np.int8)
    assert conv.build(ARM_V6M).constants[0].dtype == chosen


@pytest.mark.parametrize("channels", [8, 3])
def test_the_lowest_codes_and_weights_are_exact(channels: int) -> None:
    harness.microkernel("arm_v6m")
    p = Problem(replace(CASE, channels=(channels, 4)), "int8")
    p.weight[:], p.x.values[:] = -128, -128
    conv = ConvolutionKernel(y=p.y.tensor, finish=p.finish, **p.attributes())
    memory = harness.run(conv.build(ARM_V6M), "arm_v6m", [p.x.memory()], p.y.tensor, 1)
    harness.assert_codes(memory, p.expected())
