"""A convolution's inner loop: one register tile of pixels × vectors of channels."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from edgekiln.compiler.kernels.border import fill_border
from edgekiln.compiler.kernels.channels import Vector
from edgekiln.compiler.kernels.conv2d.narrow import Decoder
from edgekiln.compiler.kernels.conv2d.narrow_blocks import BlockDecoder
from edgekiln.compiler.kernels.conv2d.plan import Channels, DirectPlan
from edgekiln.compiler.kernels.epilogue.base import Epilogue
from edgekiln.compiler.kernels.tir import divmod_, let, loop, register, repeat, store
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, cast, const, load, shuffle, splat

# What a tile computes for one pixel and vector: pixel, first lane, channels, sums.
Result = tuple[int, int, Vector, Expr]


@dataclass(frozen=True)
class ConvolutionTileEmitter:
    """Emits the loops over register tiles."""

    plan: DirectPlan
    x: Buffer
    weights: Buffer
    epilogue: Epilogue
    # Of weights in four bits: `weights` is where it puts them.
    decoder: Decoder | BlockDecoder | None = field(default=None, kw_only=True)

    def emit(self, begin: Expr, end: Expr) -> None:
        """Emit the items begin..end-1: the border of their rows, then their tiles."""
        y = self.plan.conv.y
        if y.halo:
            with loop(begin, end) as item:
                n, h = divmod_(item, y.h)
                fill_border(self.plan.mk, self.epilogue.out, y, n, h, self.epilogue.zero())
        if self.decoder:
            self.decoder.begin()
        self._items(begin, end)

    def _items(self, begin: Expr, end: Expr) -> None:
        """Emit the tiles of the items begin..end-1."""
        # Three orders: whatever is used again soonest stays in the cache.
        if self.plan.by_channels:
            for channels in self._blocks((begin, end)):
                self._item(channels, const(0))
        elif self.plan.tile.items_first:
            with loop(begin, end) as item:
                for channels in self._blocks():
                    self._item(channels, item)
        else:
            for channels in self._blocks():
                with loop(begin, end) as item:
                    self._item(channels, item)

    def _blocks(self, share: tuple[Expr, Expr] | None = None) -> Iterator[Channels]:
        """Emit what `yield` gives to the caller for every block, its weights ready to be read."""
        for channels in self.plan.channel_blocks(share):
            yield self.decoder.ready(channels) if self.decoder else channels

    def _item(self, channels: Channels, item: Expr) -> None:
        """Emit an item's tiles of one block of channels."""
        for start in self.plan.starts(item):
            self._tile(channels, item, start)

    def _first(self, channel: Index, item: Expr, start: Index) -> Index:
        """Where in x the upper left tap of an item's pixel is."""
        conv = self.plan.conv
        n, h, w = self.plan.pixel(item, start)
        sh, sw = conv.strides
        first: Index = let(conv.x.index(n, h * sh - conv.pads[0], w * sw - conv.pads[1], channel))
        return first

    def _tile(self, channels: Channels, item: Expr, start: Index) -> None:
        """Emit one register tile: sums, then the epilogue of each vector."""
        conv, mk = self.plan.conv, self.plan.mk
        chosen = channels.block.vectors
        # By split, row of accumulators and vector.
        sums = [
            [
                [register(mk.accumulator, mk.sums * v.lanes) for v in chosen]
                for _ in range(self.plan.tile.pixels // mk.rows)
            ]
            for _ in range(self.plan.tile.splits)
        ]
        self._start_sums(channels, sums)
        self._accumulate(channels, self._first(channels.x_offset, item, start), sums)
        n, h, w = self.plan.pixel(item, start)
        y = let(conv.y.index(n, h, w, channels.y_channel))
        other = None
        if conv.residual:
            other = let(conv.residual.tensor.index(n, h, w, channels.y_channel))
        # Narrow results are joined to vectors before they are requantized.
        results = [*self._joined_channels([*self._results(sums, chosen)])]
        for pixel, lane, vector, value in self._joined_pixels(results):
            place = pixel * conv.y.pixel + vector.start - chosen[0].start
            # The residual's image has the same pixels, but another border.
            residual_at = None if other is None else other + place
            at = channels.lane + lane
            self.epilogue.emit(value, at, y + place, residual_at, vector.lanes, vector.valid)

    def _start_sums(self, channels: Channels, sums: list[list[list[Buffer]]]) -> None:
        """Set the first split to the bias, the others to zero."""
        mk = self.plan.mk
        for part, tile in enumerate(sums):
            for row in tile:
                lane = 0
                for vector, acc in zip(channels.block.vectors, row, strict=True):
                    n = vector.lanes
                    bias = self.epilogue.bias(channels.lane + lane, n)
                    # Only one of the partial sums may have the bias.
                    value = splat(cast(const(0), mk.accumulator), n) if part else bias
                    store(acc, 0, mk.start(value, n), mk.sums * n)
                    lane += n

    def _accumulate(self, channels: Channels, first: Index, sums: list[list[list[Buffer]]]) -> None:
        """Add all products.

        Args:
            first: where in x the upper left tap of the tile's first pixel is.
        """
        plan, conv, mk = self.plan, self.plan.conv, self.plan.mk
        width = mk.k_step
        step_bytes = channels.step_bytes
        # Steps that one load of a pixel brings.
        per_load = mk.x_bytes // width
        unrolled = plan.unrolled
        whole, rest = divmod(plan.steps, unrolled)
        down, right = plan.down, conv.dilations[1] * conv.x.c
        with repeat(plan.kh) as kh, repeat(1 if plan.flat else plan.kw) as kw:
            # Of one tap: k lies side by side from here on, in the image and in the weights.
            source = let(first + kh * down + kw * right)
            tap = kh if plan.flat else kh * plan.kw + kw
            packed = let(channels.weights + tap * (plan.stored_steps * step_bytes))

            def steps(start: Index, count: int) -> None:
                """Add some steps of a tap, in turn to the splits."""
                for at in range(0, count, per_load):
                    pixels = self._pixels(source + (start + at) * width)
                    for i in range(at, min(at + per_load, count)):
                        part = sums[i % plan.tile.splits]
                        weights = packed + (start + i) * step_bytes
                        self._step(pixels, i - at, weights, channels, part)

            if whole:
                with repeat(whole) as i:
                    steps(i * unrolled, unrolled)
            steps(whole * unrolled, rest)

    def _pixels(self, source: Index) -> list[Expr]:
        """The next elements of each pixel of the tile."""
        conv, count = self.plan.conv, self.plan.mk.x_bytes
        stride = conv.strides[1] * conv.x.c
        pixels = range(self.plan.tile.pixels)
        return [load(self.x, source + pixel * stride, count) for pixel in pixels]

    def _step(
        self, pixels: list[Expr], step: int, weights: Index, channels: Channels,
        sums: list[list[Buffer]],
    ) -> None:  # fmt: skip
        """Add `k_step` more products to every lane of every accumulator."""
        mk = self.plan.mk
        for row, accumulators in enumerate(sums):
            # Neighbouring pixels share an accumulator where the instruction takes several.
            group = pixels[row * mk.rows : (row + 1) * mk.rows]
            lane = 0
            for vector, acc in zip(channels.block.vectors, accumulators, strict=True):
                # LLVM loads or broadcasts this once for all vectors.
                a = mk.operand(group, step, vector.lanes)
                w = load(self.weights, weights + lane * mk.k_step, vector.lanes * mk.k_step)
                total = mk.dot(load(acc, 0, mk.sums * vector.lanes), a, w, vector.lanes)
                store(acc, 0, total, mk.sums * vector.lanes)
                lane += vector.lanes

    def _results(
        self, sums: list[list[list[Buffer]]], chosen: tuple[Vector, ...]
    ) -> Iterator[Result]:
        """Yield all that a tile computes, its splits added up."""
        mk, rows, count = self.plan.mk, self.plan.mk.rows, self.plan.mk.sums
        for row in range(self.plan.tile.pixels // rows):
            lane = 0
            for v, vector in enumerate(chosen):
                acc = load(sums[0][row][v], 0, count * vector.lanes)
                for part in sums[1:]:
                    # Partial sums of k become one.
                    acc = acc + load(part[row][v], 0, count * vector.lanes)
                for pixel, value in enumerate(mk.finish(acc, vector.lanes), row * rows):
                    yield pixel, lane, vector, value
                lane += vector.lanes

    def _joined_channels(self, results: list[Result]) -> Iterator[Result]:
        """Join scalar sums of neighbouring channels in a vector, where there are enough of them."""
        count = self.plan.mk.joins
        while results:
            pixel, lane, vector, value = results[0]
            group = results[:count]
            places = [(p, v.start, v.lanes) for p, _, v, _ in group]
            # Only channels of one pixel, next to each other and all scalar, make a vector.
            if count > 1 and places == [(pixel, vector.start + i, 1) for i in range(count)]:
                vector = Vector(vector.start, count, count)
                value = shuffle([each for *_, each in group], range(count))
                results = results[count:]
            else:
                results = results[1:]
            yield pixel, lane, vector, value

    def _joined_pixels(self, results: list[Result]) -> Iterator[Result]:
        """Join neighbouring pixels in one wide vector, where they lie side by side in memory."""
        while results:
            pixel, lane, vector, _ = results[0]
            # A vector of so many pixels must exist.
            most = min(self.plan.together, len(results))
            count = next(
                n for n in range(most, 0, -1) if n == 1 or n * vector.lanes in self.plan.mk.lanes
            )
            values = [value for *_, value in results[:count]]
            lanes = count * vector.lanes
            if count > 1:
                vector = Vector(vector.start, lanes, lanes)
                values = [shuffle(values, range(lanes))]
            yield pixel, lane, vector, values[0]
            results = results[count:]
