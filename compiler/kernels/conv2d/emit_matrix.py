"""Convolution on a matrix unit: tiles of pixels × channels, whose results leave one tile later.

A tile's sums go from the unit's registers to one half of a scratch memory; while the next tile
multiplies, the epilogue takes them from there. The processor finds the two independent and runs
them side by side.

The rows of a left operand lie at equal distances in x. So do the pixels of a row of the output, and
where the stride is 1 those of a whole image, with the ends of the rows between them: these are
computed, too, and dropped.
"""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekiln.compiler.kernels import matrix
from edgekiln.compiler.kernels.border import fill_share
from edgekiln.compiler.kernels.channels import Vector, blocks
from edgekiln.compiler.kernels.conv2d.plan import Channels, Packing
from edgekiln.compiler.kernels.epilogue.requantize import Epilogue
from edgekiln.compiler.kernels.matrix import MatrixTile, Place
from edgekiln.compiler.kernels.tir import (
    Buffer,
    Index,
    bind,
    const,
    divmod_,
    load,
    loop,
    minimum,
    register,
    turns,
    when,
)  # fmt: skip
from edgekiln.targets.isa.base import Expr, MicroKernel

if TYPE_CHECKING:
    from edgekiln.compiler.kernels.conv2d.kernel import Conv2d

_MOST_UNROLLED = 12  # steps of k: their code stays in the cache of decoded instructions


@dataclass(frozen=True, kw_only=True)
class _Runs:
    """Pixels at equal distances in x: `count` runs of `pixels`."""

    count: int
    pixels: int
    pitch: int = 0  # from one row of y to the next, where a run is an image


class MatrixPlan(Packing):
    """The numbers of one convolution on a matrix unit."""

    def __init__(self, conv: "Conv2d", mk: MicroKernel) -> None:
        super().__init__(conv, mk)
        assert mk.matrix
        self.unit = mk.matrix
        depth = matrix.depth(self.unit, self.run)
        self.tap_steps = math.ceil(self.run / depth)
        self.steps = self.tap_steps * depth // mk.k_step
        self.unrolled = self.taps * self.tap_steps <= _MOST_UNROLLED
        in_turn = self.taps * self.tap_steps if self.unrolled else self.tap_steps
        ways = sorted(
            (
                (self._cycles(runs, tile), runs, tile)
                for runs in self._all_runs()
                for tile in matrix.tiles(self.unit, runs.pixels, self.oc, depth, in_turn)
            ),
            key=lambda way: way[0],
        )
        self.ranked = [(cycles, tile.choice) for cycles, _, tile in ways]
        chosen = conv.tile or self.ranked[0][1]
        # Of ways that are one choice, the cheapest stands for all.
        _, self.runs, self.tile = next(way for way in ways if way[-1].choice == chosen)
        self.layout = blocks(self._columns(self.tile), 1)
        self.per_run = math.ceil(self.runs.pixels / self.tile.pixels)
        self.work = self.runs.count * self.per_run

    def _all_runs(self) -> list[_Runs]:
        """The ways to see the output as runs."""
        y, x = self.conv.y, self.conv.x
        if self.is_pointwise_and_dense():
            return [_Runs(count=1, pixels=y.n * y.h * y.w)]
        found = [_Runs(count=y.n * y.h, pixels=y.w)]
        if self.conv.strides == (1, 1) and y.h > 1:
            pitch = x.row // x.c
            found.append(_Runs(count=y.n, pixels=(y.h - 1) * pitch + y.w, pitch=pitch))
        return found

    def _cycles(self, runs: _Runs, tile: MatrixTile) -> float:
        """Of the whole convolution."""
        steps = self.taps * self.tap_steps
        widths = [v.lanes // self.unit.columns for v in self._columns(tile)]
        each = sum(tile.cycles(self.mk, across, steps) for across in widths)
        return each * self.conv.groups * runs.count * math.ceil(runs.pixels / tile.pixels)

    def _columns(self, tile: MatrixTile) -> tuple[Vector, ...]:
        return matrix.columns(self.oc, self.mk, tile.lanes)


@dataclass(frozen=True)
class MatrixEmitter:
    """Emits the loops over tiles."""

    plan: MatrixPlan
    x: Buffer
    weights: Buffer
    epilogue: Epilogue
    configuration: Buffer

    def emit(self, begin: Expr, end: Expr) -> None:
        plan = self.plan
        share = (begin, end, plan.work)
        fill_share(plan.mk, self.epilogue.out, plan.conv.y, share, self.epilogue.zero())
        plan.unit.configure(self.configuration)
        half = plan.tile.splits * plan.tile.pixels * plan.tile.lanes
        scratch = register("int32", 2 * half)
        for channels in plan.channel_blocks():
            with loop(begin, end + 1) as item:
                with when(item < end):
                    self._sums(channels, item, scratch, bind(divmod_(item, 2)[1] * half))
                with when(item > begin):
                    done = bind(item - 1)
                    self._results(channels, done, scratch, bind(divmod_(done, 2)[1] * half))
        plan.unit.release()

    def _start(self, item: Expr) -> tuple[Index, Index]:
        """A tile's run, and its first pixel in it; the last tile overlaps its predecessor."""
        plan = self.plan
        run, tile = divmod_(item, plan.per_run) if plan.runs.count > 1 else (0, item)
        last = plan.runs.pixels - plan.tile.pixels
        return bind(run), bind(minimum(tile * plan.tile.pixels, const(last)))

    def _sums(self, channels: Channels, item: Expr, scratch: Buffer, to: Index) -> None:
        plan, tile = self.plan, self.plan.tile
        conv, (vector,) = plan.conv, channels.block.vectors
        across = range(vector.lanes // plan.unit.columns)
        self._start_sums(channels, len(across))
        run, start = self._start(item)
        n, h = self._row(run)
        (sh, sw), (top, left) = conv.strides, conv.pads
        first = bind(conv.x.index(n, h * sh - top, start * sw - left, channels.x_offset))
        self._accumulate(channels, first)
        for split in range(tile.splits):
            for row in range(tile.down):
                pixel = split * tile.pixels + row * tile.rows
                for column in across:
                    at = to + pixel * vector.lanes + column * plan.unit.columns
                    acc = tile.accumulator(split, row, column)
                    plan.unit.store(acc, scratch, at, 4 * vector.lanes)

    def _start_sums(self, channels: Channels, across: int) -> None:
        """The bias in every row of the first split, zero in the others."""
        unit, tile = self.plan.unit, self.plan.tile
        for split in range(tile.splits):
            for row in range(tile.down):
                for column in range(across):
                    acc = tile.accumulator(split, row, column)
                    if split:
                        unit.zero(acc)
                    else:
                        unit.load(
                            acc, self.epilogue.biases, channels.lane + column * unit.columns, 0
                        )

    def _accumulate(self, channels: Channels, first: Index) -> None:
        plan, conv, splits = self.plan, self.plan.conv, self.plan.tile.splits
        down, right = conv.dilations[0] * conv.x.row, conv.dilations[1] * conv.x.c
        kws = 1 if plan.flat else plan.kw
        tap_bytes = plan.steps * plan.mk.k_step * channels.block.channels
        if plan.unrolled:
            taps = [(kh, kw) for kh in range(plan.kh) for kw in range(kws)]
            steps = [(tap, step) for tap in range(len(taps)) for step in range(plan.tap_steps)]
            for i, (tap, step) in enumerate(steps):
                kh, kw = taps[tap]
                source = first + (kh * down + kw * right)
                packed = channels.weights + tap * tap_bytes
                self._step(channels, i % splits, source, packed, step)
            return
        with turns(plan.kh) as kh, turns(kws) as kw:
            source = bind(first + kh * down + kw * right)
            packed = bind(channels.weights + (kh * kws + kw) * tap_bytes)
            whole, rest = divmod(plan.tap_steps, splits)
            with turns(whole) as turn:
                for split in range(splits):
                    self._step(channels, split, source, packed, turn * splits + split)
            for split in range(rest):
                self._step(channels, split, source, packed, whole * splits + split)

    def _step(
        self, channels: Channels, split: int, source: Index, packed: Index, step: Index
    ) -> None:
        plan, tile, x = self.plan, self.plan.tile, self.plan.conv.x
        pixel = plan.conv.strides[1] * x.c
        lanes = channels.block.channels
        word = lanes * plan.mk.k_step  # from one row of a right operand to the next
        lefts = [
            Place(self.x, source + step * tile.depth + row * tile.rows * pixel, pixel)
            for row in range(tile.down)
        ]
        at = packed + step * (tile.depth // plan.mk.k_step * word)
        rights = [Place(self.weights, at + i, word) for i in range(0, word, plan.unit.row_bytes)]
        tile.multiply(split, lefts, rights)

    def _results(self, channels: Channels, item: Expr, scratch: Buffer, at: Index) -> None:
        """The epilogue of a tile's pixels, one after the other."""
        plan, tile = self.plan, self.plan.tile
        conv, (vector,) = plan.conv, channels.block.vectors
        run, start = self._start(item)
        with loop(0, tile.pixels) as pixel:
            n, h, w = self._position(run, start + pixel)
            with when(w < conv.y.w) if plan.runs.pitch else nullcontext():
                sums = [
                    load(scratch, at + (split * tile.pixels + pixel) * vector.lanes, vector.lanes)
                    for split in range(tile.splits)
                ]
                y = bind(conv.y.index(n, h, w, channels.y_channel))
                other = None
                if conv.residual:
                    other = bind(conv.residual.tensor.index(n, h, w, channels.y_channel))
                total = sum(sums[1:], sums[0])
                self.epilogue.emit(total, channels.lane, y, other, vector.lanes, vector.valid)

    def _position(self, run: Index, pixel: Expr) -> tuple[Index, Index, Index]:
        """n, h and w in y; w reaches its width for pixels between two rows."""
        n, h = self._row(run)
        if self.plan.runs.pitch:
            h, w = divmod_(pixel, self.plan.runs.pitch)
            return n, bind(h), bind(w)
        return n, h, pixel

    def _row(self, run: Index) -> tuple[Index, Index]:
        """n and h of a run's first pixel."""
        runs = self.plan.runs
        if runs.count == 1:  # one row, or an image, or all pixels in a row
            return 0, 0
        return (run, 0) if runs.pitch else divmod_(run, self.plan.conv.y.h)
