"""3×3 convolution by Winograd's filtering: transforms around products of matrices.

The windows of a block of tiles are transformed into a scratch memory; then, for a vector of output
channels, the products of a column of six points are summed in registers over the input channels,
and transformed in this direction before they leave for a second scratch; from there they go through
the other direction to the epilogue. Both scratches stay in the caches. Tiles at the end of a row or
a column overlap their predecessors, so that no window leaves the border of x.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.border import fill_share
from edgekiln.compiler.kernels.channels import Vector
from edgekiln.compiler.kernels.conv2d import winograd
from edgekiln.compiler.kernels.conv2d.winograd import FILTER, POINTS, TILE, WINDOW
from edgekiln.compiler.kernels.conv2d.winograd_plan import WinogradPlan
from edgekiln.compiler.kernels.epilogue.base import Epilogue
from edgekiln.compiler.kernels.tir import (
    divmod_,
    for_vectors,
    let,
    loop,
    register,
    repeat,
    store,
    when,
)
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    cast,
    const,
    load,
    minimum,
    reinterpret,
    shuffle,
    splat,
)


@dataclass(frozen=True)
class _Channels:
    """The vector of output channels that is being emitted."""

    vector: Vector
    first: Index  # output channel
    lane: Index  # in bias, mult and packed weights


@dataclass(frozen=True)
class _Scratch:
    """What lies between the steps, in the caches."""

    windows: Buffer  # transformed
    halves: Buffer  # sums transformed in one direction
    weights: Buffer  # transformed, of a register of output channels, where they are compact


class _RegisterPart(NamedTuple):
    """A register of a vector of output channels."""

    start: Index  # its first lane
    lanes: int
    pitch: int  # lanes of the vector


class _Place(NamedTuple):
    """Where weights begin."""

    buffer: Buffer
    at: Index

    def plus(self, offset: Index) -> "_Place":
        """The place so many elements behind."""
        return _Place(self.buffer, let(self.at + offset))


@dataclass(frozen=True)
class WinogradEmitter:
    """Emits the loops over tiles."""

    plan: WinogradPlan
    x: Buffer
    weights: Buffer
    epilogue: Epilogue

    def emit(self, begin: Expr, end: Expr) -> None:
        """Emit the items begin..end-1, and the border's share of them."""
        plan = self.plan
        share = (begin, end, plan.work)
        fill_share(plan.mk, self.epilogue.out, plan.conv.y, share, self.epilogue.zero())
        scratch = self._scratch()
        with loop(begin, end) as item:
            block, share_of_channels = divmod_(item, plan.shares)
            # The last block of tiles overlaps its predecessor.
            start = let(minimum(block * plan.size, const(plan.every - plan.size)))
            # Items with the same tiles share the windows that the first of them transformed.
            with when((share_of_channels == 0) | (item == begin)):
                self._transform_windows(start, scratch.windows)
            for channels in self._vectors(share_of_channels):
                self._multiply(channels, scratch)
                self._finish(channels, scratch.halves, start)

    def _scratch(self) -> _Scratch:
        """Memory of a call, on its stack."""
        plan = self.plan
        point = POINTS * plan.depth
        # One register stands where there is nothing to keep.
        widest = max(vector.lanes for block in plan.layout for vector in block.vectors)
        weights = point * plan.part(widest) if plan.compact else 1
        return _Scratch(
            windows=register(plan.products.activation, plan.size * point),
            halves=register(self._sums, plan.size * TILE * WINDOW * widest),
            weights=register(plan.products.activation, weights),
        )

    @property
    def _sums(self) -> str:
        """The type of sums. Integers are computed modulo 2³², as C's are only if unsigned."""
        return self.plan.products.accumulator.replace("int32", "uint32")

    def _vectors(self, share: Expr) -> Iterator[_Channels]:
        """An item's vectors of channels: the one that is its share, or all."""
        plan, lane = self.plan, 0
        for block in plan.layout:
            (vector,) = block.vectors
            with repeat(block.count) if plan.shares == 1 else nullcontext(share) as i:
                # Where every item has all vectors this is a loop over equal ones.
                at = i * vector.lanes
                yield _Channels(vector, let(at + vector.start), let(at + lane))
            lane += block.count * vector.lanes

    def _place(self, tile: Expr) -> tuple[Index, Index, Index]:
        """Where a tile's first pixel is: n, h and w. The last tiles of an image begin earlier."""
        plan, y = self.plan, self.plan.conv.y
        n, tile = divmod_(tile, plan.down * plan.across) if y.n > 1 else (0, tile)
        down, across = divmod_(tile, plan.across)
        # A tile at the end of a row or a column begins earlier, and stays inside the image.
        h, w = minimum(down * TILE, const(y.h - TILE)), minimum(across * TILE, const(y.w - TILE))
        return n, let(h), let(w)

    def _transform_windows(self, start: Expr, windows: Buffer) -> None:
        """Transform an item's windows into [tile][row of points][column of points][channel]."""
        plan, x, (top, left) = self.plan, self.plan.conv.x, self.plan.conv.pads
        with repeat(plan.size) as tile:
            # A window begins a filter's padding before its tile.
            n, h, w = self._place(start + tile)
            source = let(x.index(n, h - top, w - left, 0))
            # All channels of a point lie side by side, as products want them.
            to = let(tile * (POINTS * plan.depth))
            for_vectors(
                plan.ic,
                plan.widths,
                lambda channel, lanes: self._transform_window(
                    source + channel, windows, to + channel, lanes
                ),
            )

    def _transform_window(self, source: Index, windows: Buffer, to: Index, lanes: int) -> None:
        """Transform `lanes` channels of one window, whose first pixel is at `source`."""
        x, dtype = self.plan.conv.x, self.plan.products.activation

        def pixels(column: int) -> list[Expr]:
            places = (source + (row * x.row + column * x.pixel) for row in range(WINDOW))
            # Codes become words here, which hold all that transforms make of them.
            return [let(cast(load(self.x, place, lanes), dtype, lanes)) for place in places]

        columns = map(pixels, range(WINDOW))
        for i, j, value in winograd.both_ways(winograd.input_transform, columns, dtype, lanes):
            # Points are `depth` apart, for their channels lie between.
            store(windows, to + (i * WINDOW + j) * self.plan.depth, value, lanes)

    def _multiply(self, channels: _Channels, scratch: _Scratch) -> None:
        """Multiply an item's windows by a vector's weights into [tile][row of results][column of
        points][lane].
        """
        plan, lanes = self.plan, channels.vector.lanes
        part = plan.part(lanes)
        with repeat(lanes // part) as r:
            lane = let(channels.lane + r * part)
            # One register of the vector after the other: six sums a tile fill the registers.
            points = _Place(self.weights, let(lane * (POINTS * plan.depth)))
            if plan.compact:
                # Compact weights are transformed now, into memory that stays in the cache.
                points = _Place(scratch.weights, 0)
                self._transform_weights(lane * (FILTER**2 * plan.depth), points.buffer, part)
            place = _RegisterPart(r * part, part, lanes)
            # Column by column, so that the six sums of one are transformed together.
            with loop(0, WINDOW) as j:
                weights = points.plus(j * (plan.depth * WINDOW * part))
                with repeat(plan.size // plan.group) as i:
                    self._sum(weights, scratch, i * plan.group, j, place)
                if plan.size % plan.group:
                    # The last group overlaps its predecessor: what is stored twice is the same.
                    first = plan.size - plan.group
                    self._sum(weights, scratch, first, j, place)

    def _transform_weights(self, packed: Index, points: Buffer, lanes: int) -> None:
        """Transform a register's weights of all input channels into [column of points][step][row
        of points][lane][k_step].
        """
        plan, mk = self.plan, self.plan.products
        dtype, count = mk.activation, lanes * mk.k_step
        with repeat(plan.k_steps) as step:
            source = let(packed + step * (FILTER**2 * count))

            def weights(column: int) -> list[Expr]:
                places = (source + (row * FILTER + column) * count for row in range(FILTER))
                return [let(cast(load(self.weights, at, count), dtype, count)) for at in places]

            # Three weights become six points, in both directions.
            columns = map(weights, range(FILTER))
            for i, j, value in winograd.both_ways(winograd.filter_transform, columns, dtype, count):
                place = ((j * plan.k_steps + step) * WINDOW + i) * count
                store(points, place, value, count)

    def _sum(
        self, weights: _Place, scratch: _Scratch, first: Index, j: Expr, part: _RegisterPart
    ) -> None:
        """Multiply a group of tiles by a column of points, and transform the sums."""
        first, lanes = let(first), part.lanes
        sums = self._products(scratch.windows, weights, first, j, lanes)
        # Six sums become four, so less is stored than was summed.
        for tile, points in enumerate(zip(*sums, strict=True)):
            values = [let(reinterpret(load(p, 0, lanes), self._sums, lanes)) for p in points]
            for i, value in enumerate(winograd.output_transform(values, self._sums, lanes)):
                row = ((first + tile) * TILE + i) * WINDOW + j
                store(scratch.halves, row * part.pitch + part.start, value, lanes)

    def _products(
        self, windows: Buffer, weights: _Place, first: Index, j: Expr, lanes: int
    ) -> list[list[Buffer]]:
        """Sum a column of points over the input channels. Returns the sums by point and tile."""
        plan, mk = self.plan, self.plan.products
        sums = [[register(mk.accumulator, lanes) for _ in range(plan.group)] for _ in range(WINDOW)]
        zero = splat(cast(const(0), mk.accumulator), lanes)
        for acc in (acc for row in sums for acc in row):
            store(acc, 0, zero, lanes)
        # Point (i, j) of the group's first tile, of the first channels.
        source = let((first * POINTS + j) * plan.depth)
        with repeat(plan.k_steps) as step:
            # A register of weights serves all tiles of the group.
            for i, row in enumerate(sums):
                at = weights.at + (step * WINDOW + i) * (lanes * mk.k_step)
                # Weights of a step lie in the order in which the six rows of points want them.
                w = load(weights.buffer, at, lanes * mk.k_step)
                for tile, acc in enumerate(row):
                    point = source + (tile * POINTS + i * WINDOW) * plan.depth
                    pixel = load(windows, point + step * mk.k_step, mk.x_bytes)
                    total = mk.dot(load(acc, 0, lanes), mk.operand([pixel], 0, lanes), w, lanes)
                    store(acc, 0, total, lanes)
        return sums

    def _finish(self, channels: _Channels, halves: Buffer, start: Expr) -> None:
        """Transform the sums in the other direction, tile by tile, and emit their epilogue."""
        conv, lanes = self.plan.conv, channels.vector.lanes
        with repeat(self.plan.size) as tile:
            place = (*self._place(start + tile), channels.first)
            y = let(conv.y.index(*place))
            other = let(conv.residual.tensor.index(*place)) if conv.residual else None
            # Each row of four has its six columns of half transformed sums side by side.
            for i in range(TILE):
                row = (tile * TILE + i) * (WINDOW * lanes)
                points = [let(load(halves, row + j * lanes, lanes)) for j in range(WINDOW)]
                results = winograd.output_transform(points, self._sums, lanes)
                self._emit_row(channels, i, results, y, other)

    def _emit_row(
        self, channels: _Channels, i: int, results: Sequence[Expr], y: Index, other: Index | None
    ) -> None:
        """Emit the epilogue of the i-th row of a tile's results."""
        conv, vector, together = self.plan.conv, channels.vector, self.plan.together
        # The bias is added last: sums in the transformed domain cannot start from it.
        bias = self.epilogue.bias(channels.lane, vector.lanes)
        sums = [
            let(winograd.unscaled(value, i, j, self._sums, vector.lanes) + bias)
            for j, value in enumerate(results)
        ]
        lanes, valid = together * vector.lanes, together * vector.valid
        # Pixels whose channels fill less than a vector leave together.
        for j in range(0, TILE, together):
            total = sums[j] if together == 1 else shuffle(sums[j : j + together], range(lanes))
            residual_at = None
            if conv.residual and other is not None:
                residual_at = other + _within(conv.residual.tensor, i, j)
            at = y + _within(conv.y, i, j)
            self.epilogue.emit(total, channels.lane, at, residual_at, lanes, valid)


def _within(tensor: Nhwc, i: int, j: int) -> int:
    """How many elements lie between a tile's first pixel and the j-th of its i-th row."""
    return i * tensor.row + j * tensor.pixel
