"""Convolution on a matrix unit: tiles of pixels × channels, whose results leave one tile later.

A tile's sums go from the unit's registers to one half of a scratch memory; while the next tile
multiplies, the epilogue takes them from there. The processor finds the two independent and runs
them side by side.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product

from edgekiln.compiler.kernels.border import fill_share
from edgekiln.compiler.kernels.conv2d.matrix_plan import MatrixPlan
from edgekiln.compiler.kernels.conv2d.plan import Channels
from edgekiln.compiler.kernels.epilogue.base import Epilogue
from edgekiln.compiler.kernels.matrix import RegisterPlace
from edgekiln.compiler.kernels.tir import divmod_, let, loop, register, repeat, when
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, const, expression, load, minimum


@dataclass(frozen=True)
class ConvolutionMatrixEmitter:
    """Emits the loops over tiles."""

    plan: MatrixPlan
    x: Buffer
    weights: Buffer
    epilogue: Epilogue
    configuration: Buffer

    def emit(self, begin: Expr, end: Expr) -> None:
        """Emit the items begin..end-1, and the border's share of them."""
        plan = self.plan
        share = (begin, end, plan.work)
        fill_share(plan.mk, self.epilogue.out, plan.conv.y, share, self.epilogue.zero())
        plan.unit.configure(self.configuration)
        # int32 of all splits of a tile.
        half = plan.tile.splits * plan.tile.pixels * plan.tile.lanes
        scratch = register("int32", 2 * half)
        # Two halves in turn: item i's sums come while item i-1's results leave.
        for channels in plan.channel_blocks():
            with loop(begin, end + 1) as item:
                # The loop runs once more than there are items: the last results leave in it.
                with when(item < end):
                    self._sums(channels, item, scratch, let(divmod_(item, 2)[1] * half))
                with when(item > begin):
                    done = let(item - 1)
                    self._results(channels, done, scratch, let(divmod_(done, 2)[1] * half))
        plan.unit.release()

    def _start(self, item: Expr) -> tuple[Index, Index]:
        """A tile's run, and its first pixel in the run. The last tile overlaps its predecessor."""
        plan = self.plan
        # A single run needs no division.
        run, tile = divmod_(item, plan.per_run) if plan.runs.count > 1 else (0, item)
        last = plan.runs.pixels - plan.tile.pixels
        return let(run), let(minimum(tile * plan.tile.pixels, const(last)))

    def _sums(self, channels: Channels, item: Expr, scratch: Buffer, to: Index) -> None:
        """Compute a tile's sums and store them in the half that begins at `to`."""
        plan, tile = self.plan, self.plan.tile
        conv, (vector,) = plan.conv, channels.block.vectors
        across = range(vector.lanes // plan.unit.columns)
        self._start_sums(channels, len(across))
        run, start = self._start(item)
        n, h = self._row(run)
        (sh, sw), (top, left) = conv.strides, conv.pads
        # Where the tile's first pixel finds its upper left tap.
        first = let(conv.x.index(n, h * sh - top, start * sw - left, channels.x_offset))
        self._accumulate(channels, first)
        for split in range(tile.splits):
            for row in range(tile.down):
                pixel = split * tile.pixels + row * tile.rows
                for column in across:
                    at = to + pixel * vector.lanes + column * plan.unit.columns
                    acc = tile.accumulator(split, row, column)
                    plan.unit.store(acc, scratch, at, 4 * vector.lanes)

    def _start_sums(self, channels: Channels, across: int) -> None:
        """Set every row of the first split to the bias, the others to zero."""
        unit, tile = self.plan.unit, self.plan.tile
        for split in range(tile.splits):
            for row in range(tile.down):
                for column in range(across):
                    acc = tile.accumulator(split, row, column)
                    if split:
                        unit.zero(acc)
                    else:
                        # A stride of 0 loads the same row of biases into every row.
                        unit.load(
                            acc, self.epilogue.biases, channels.lane + column * unit.columns, 0
                        )

    def _accumulate(self, channels: Channels, first: Index) -> None:
        """Add all products.

        Args:
            first: where in x the upper left tap of the tile's first pixel is.
        """
        plan, conv, splits = self.plan, self.plan.conv, self.plan.tile.splits
        down, right = conv.dilations[0] * conv.x.row, conv.dilations[1] * conv.x.c
        kws = 1 if plan.flat else plan.kw
        tap_bytes = plan.steps * plan.mk.k_step * channels.block.channels
        if plan.unrolled:
            # Few steps are code one after the other: every address is known.
            steps = product(range(plan.kh), range(kws), range(plan.tap_steps))
            for i, (row, column, step) in enumerate(steps):
                source = first + (row * down + column * right)
                packed = channels.weights + (row * kws + column) * tap_bytes
                self._step(channels, i % splits, source, packed, step)
            return
        with repeat(plan.kh) as kh, repeat(kws) as kw:
            # Many are a loop over taps, and one over groups of steps that serve all splits.
            source = let(first + kh * down + kw * right)
            packed = let(channels.weights + (kh * kws + kw) * tap_bytes)
            whole, rest = divmod(plan.tap_steps, splits)
            with repeat(whole) as group:
                for split in range(splits):
                    self._step(channels, split, source, packed, group * splits + split)
            for split in range(rest):
                self._step(channels, split, source, packed, whole * splits + split)

    def _step(
        self, channels: Channels, split: int, source: Index, packed: Index, step: Index
    ) -> None:
        """Add the products of one step of a tap.

        Args:
            source: where in x the tap of the first pixel is.
            packed: where the weights of the tap are.
        """
        plan, tile, x = self.plan, self.plan.tile, self.plan.conv.x
        pixel = plan.conv.strides[1] * x.c
        lanes = channels.block.channels
        word = lanes * plan.mk.k_step  # from one row of a right operand to the next
        # A row of a left operand is a pixel's share of k, and pixels are a stride apart.
        lefts = [
            RegisterPlace(self.x, source + step * tile.depth + row * tile.rows * pixel, pixel)
            for row in range(tile.down)
        ]
        at = packed + step * (tile.depth // plan.mk.k_step * word)
        # A right operand holds a share of k of some columns, in the order of `vpdpbusd`.
        rights = [
            RegisterPlace(self.weights, at + i, word) for i in range(0, word, plan.unit.row_bytes)
        ]
        tile.multiply(split, lefts, rights)

    def _results(self, channels: Channels, item: Expr, scratch: Buffer, at: Index) -> None:
        """Emit the epilogue of a tile's pixels, one after the other."""
        plan, tile = self.plan, self.plan.tile
        conv, (vector,) = plan.conv, channels.block.vectors
        run, start = self._start(item)
        with loop(0, tile.pixels) as pixel:
            n, h, w = self._position(run, start + pixel)
            # Pixels between two rows were computed, and are dropped here.
            with when(w < conv.y.w) if plan.runs.pitch else nullcontext():
                sums = [
                    load(scratch, at + (split * tile.pixels + pixel) * vector.lanes, vector.lanes)
                    for split in range(tile.splits)
                ]
                y = let(conv.y.index(n, h, w, channels.y_channel))
                other = None
                if conv.residual:
                    other = let(conv.residual.tensor.index(n, h, w, channels.y_channel))
                # Partial sums of k become one.
                total = sum(sums[1:], sums[0])
                self.epilogue.emit(total, channels.lane, y, other, vector.lanes, vector.valid)

    def _position(self, run: Index, pixel: Expr) -> tuple[Index, Index, Index]:
        """Where a pixel of a run is in y: n, h and w. Between two rows w is y's width or more."""
        n, h = self._row(run)
        if self.plan.runs.pitch:
            h, w = divmod_(pixel, self.plan.runs.pitch)
            return n, let(h), let(w)
        return n, h, pixel

    def _row(self, run: Index) -> tuple[Index, Index]:
        """Where a run's first pixel is: n and h."""
        runs = self.plan.runs
        if runs.count == 1:  # one row, or an image, or all pixels in a row
            return 0, 0
        return (run, 0) if runs.pitch else divmod_(expression(run), self.plan.conv.y.h)
