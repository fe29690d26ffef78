"""The loops of microcontrollers by an interpreter of their assembly, against plain sums."""

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis.strategies import SearchStrategy, booleans, builds, integers, just, one_of

from edgekiln.targets.isa.arm_dsp import ARM_DSP, ARM_DSP_M7
from edgekiln.targets.isa.arm_dsp_loops import product_loop
from edgekiln.targets.isa.halfwords import TileLoop

if TYPE_CHECKING:
    from collections.abc import Callable

X, W = 0x2000_0000, 0x0800_0000  # where the scratch and the weights lie


def padded(tile: TileLoop) -> TileLoop:
    """The tile with rows that its pixels and steps fit into."""
    width = (tile.pixels - 1) * tile.pixel_bytes + tile.steps * (4 if tile.weight_bytes == 2 else 8)
    return TileLoop(**{**vars(tile), "row_bytes": -(-width // 8) * 8 + tile.row_bytes})


def tiles(weight_bytes: int) -> SearchStrategy[TileLoop]:
    several = weight_bytes == 2
    return builds(
        TileLoop,
        pixels=integers(1, 5) if several else just(1),
        channels=integers(1, 5),
        rows=integers(1, 4),
        steps=integers(1, 60),
        pixel_bytes=integers(1, 60).map(lambda words: 2 * words),
        row_bytes=integers(0, 3).map(lambda words: 8 * words),
        weight_bytes=just(weight_bytes),
        split=booleans(),
    ).map(padded)


class Machine:
    """Executes what the loops are made of. What is read must lie inside of the two memories."""

    def __init__(self, x: np.ndarray, w: np.ndarray, registers: dict[str, int]) -> None:
        self.memory = {X: x.tobytes(), W: w.tobytes()}
        self.registers = registers
        self.equal = False

    def word(self, at: int) -> int:
        start = X if at >= X else W
        assert 0 <= at - start <= len(self.memory[start]) - 4, "reads beside what is its own"
        return int.from_bytes(self.memory[start][at - start : at - start + 4], "little")

    def value(self, operand: str) -> int:
        return int(operand[1:]) if operand.startswith("#") else self.registers[operand]

    def load(self, *operands: str) -> None:
        *to, base, offset = operands
        at = self.value(base) + self.value(offset)
        assert 0 <= self.value(offset) <= (4095 if len(to) == 1 else 1020)
        assert len(to) == 1 or at % 4 == 0, "LDRD takes whole words"
        for number, register in enumerate(to):
            self.registers[register] = self.word(at + 4 * number)

    def smlad(self, to: str, a: str, w: str, total: str) -> None:
        products = (_halves(self.value(a)) * _halves(self.value(w))).sum()
        self.registers[to] = (self.value(total) + int(products)) % 2**32

    def sxtb16(self, to: str, of: str, turn: str = "ror #0") -> None:
        by = int(turn.split("#")[1])
        turned = (self.value(of) >> by | self.value(of) << (32 - by)) % 2**32
        signed = np.array([turned & 0xFF, turned >> 16 & 0xFF], np.uint8).view(np.int8)
        self.registers[to] = int(signed.astype(np.int16).view(np.uint32)[0])

    def add(self, to: str, *operands: str) -> None:
        a, b = operands if len(operands) == 2 else (to, *operands)
        self.registers[to] = self.value(a) + self.value(b)

    def set(self, to: str, of: str) -> None:
        self.registers[to] = self.value(of)

    def movt(self, to: str, of: str) -> None:
        self.registers[to] |= self.value(of) << 16

    def cmp(self, a: str, b: str) -> None:
        self.equal = self.value(a) == self.value(b)

    def run(self, lines: list[str]) -> None:
        does: dict[str, Callable[..., None]] = {
            "ldr": self.load, "ldrd": self.load, "smlad": self.smlad, "sxtb16": self.sxtb16,
            "add": self.add, "addw": self.add, "mov": self.set, "movw": self.set,
            "movt": self.movt, "vmov": self.set, "cmp": self.cmp,
        }  # fmt: skip
        at = 0
        while at < len(lines):
            name, _, operands = lines[at].partition(" ")
            if name == "bne":
                at = at if self.equal else lines.index(f"{operands[:-1]}:")
            elif not name.endswith(":"):
                does[name](*re.sub(r"[\[\]]", "", operands).split(", "))
            at += 1


def _halves(word: int) -> np.ndarray:
    return np.array([word], np.uint32).view(np.int16).astype(np.int64)


@given(one_of(tiles(2), tiles(1)), booleans(), integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_loop_multiplies_every_pixel_with_every_channel(
    tile: TileLoop, dual_issue: bool, seed: int
) -> None:
    written = product_loop(tile, dual_issue=dual_issue)
    assume(written)
    assert written
    rng = np.random.default_rng(seed)
    step = 2 if tile.weight_bytes == 2 else 4  # elements of a pixel
    x = rng.integers(-128, 128, tile.rows * tile.row_bytes // 2).astype(np.int16)
    shape = (tile.rows, tile.steps, tile.channels, step)
    w = rng.integers(-128, 128, shape).astype(np.int16 if tile.weight_bytes == 2 else np.int8)
    given = rng.integers(-(2**31), 2**31, tile.channels)
    expected = np.tile(given, (tile.pixels, 1))
    order = [0, 1] if step == 2 else [0, 2, 1, 3]
    for p in range(tile.pixels):
        for row in range(tile.rows):
            first = (row * tile.row_bytes + p * tile.pixel_bytes) // 2
            codes = x[first : first + tile.steps * step].reshape(tile.steps, step).astype(np.int64)
            expected[p] += np.einsum("sk,sck->c", codes, w[row][..., order].astype(np.int64))
    text = re.search(r'asm "(.*?)", "(.*?)"', written.text)
    assert text
    kept = re.findall(r"=&\{(\w+)\}", text[2])
    sums = kept[:-2]
    last = dict(zip(sums[-tile.channels :], (int(s) % 2**32 for s in given), strict=True))
    # Nothing else is known at the beginning: what is read before it is written ends the test.
    machine = Machine(x, w, {kept[-2]: X, kept[-1]: W, **last})
    machine.run(text[1].split("\\0A"))
    found = np.array([machine.registers[each] for each in sums], np.uint32).view(np.int32)
    wanted = (expected % 2**32).astype(np.uint32).view(np.int32)
    np.testing.assert_array_equal(found, wanted.reshape(-1))
    spoiled = set(re.findall(r"~\{(\w+)\}", text[2]))
    assert set(machine.registers) <= {*kept, *spoiled, "$0"}


@pytest.mark.parametrize("mk", [ARM_DSP, ARM_DSP_M7], ids=lambda mk: mk.name)
def test_what_has_no_room_is_left_to_the_compiler(mk: object) -> None:
    tile = TileLoop(
        pixels=3,
        channels=2,
        rows=1,
        steps=32,
        pixel_bytes=128,
        row_bytes=512,
        weight_bytes=2,
        split=True,
    )
    dual_issue = mk is ARM_DSP_M7
    assert product_loop(tile, dual_issue=dual_issue)
    for other in ({"pixels": 4}, {"channels": 3}, {"pixel_bytes": 2048}):
        assert not product_loop(TileLoop(**{**vars(tile), **other}), dual_issue=dual_issue)
