"""A convolution on widened activations: first a strip of the image is widened, then multiplied."""

from dataclasses import dataclass, replace

from edgekiln.compiler.kernels.conv2d.emit_tile import ConvolutionTileEmitter
from edgekiln.compiler.kernels.conv2d.plan import Channels
from edgekiln.compiler.kernels.conv2d.widened_plan import WidenedPlan
from edgekiln.compiler.kernels.tir import call, let, loop, repeat, store
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, address, load


@dataclass(frozen=True)
class WidenedTileEmitter(ConvolutionTileEmitter):
    """Emits strips, and the register tiles of each."""

    plan: WidenedPlan
    image: Buffer  # `x` is the scratch, of which tiles read
    strip: Index = 0  # the first pixel of what it holds

    def _items(self, begin: Expr, end: Expr) -> None:
        plan = self.plan
        with loop(begin, end) as item:
            for strip in plan.strips(item):
                self._widen(item, strip)
                for channels in self._blocks():
                    for of_tile, tile in plan.tiles_of_strip():
                        replace(self, plan=of_tile, strip=strip)._tile(channels, item, strip + tile)

    def _first(self, channel: Index, item: Expr, start: Index) -> Index:
        del item  # the scratch holds a strip of it
        conv = self.plan.conv
        first: Index = let((start - self.strip) * (conv.strides[1] * conv.x.c) + channel)
        return first

    def _accumulate(self, channels: Channels, first: Index, sums: list[list[list[Buffer]]]) -> None:
        """Add all products, by the chip's own loop where it has one."""
        plan = self.plan
        products = plan.product_loop(plan.tile.pixels, len(channels.block.vectors), plan.pitch)
        if not products:
            assert not plan.in_bytes, "bytes are multiplied by the chip's own loop alone"
            super()._accumulate(channels, first, sums)
            return
        # The loop hides latencies itself: there are no partial sums.
        (rows,) = sums
        of_sums = [address(total, 0) for row in rows for total in row]
        places = [address(self.x, first), address(self.weights, channels.weights)]
        call(products, *places, *of_sums)

    def _widen(self, item: Expr, strip: Index) -> None:
        """Bring what a strip reads into the scratch."""
        plan = self.plan
        first = super()._first(0, item, strip)
        down = plan.conv.dilations[0] * plan.conv.x.row
        size, repeats = plan.widening.elements, plan.widening.repeats
        stride = size * repeats
        with repeat(plan.kh) as row:
            source, to = let(first + row * down), let(row * plan.pitch)
            whole, rest = divmod(plan.pitch // size, repeats)
            if whole:
                with repeat(whole) as i:
                    self._widen_some(source + i * stride, to + i * stride, repeats)
            self._widen_some(source + whole * stride, to + whole * stride, rest)

    def _widen_some(self, source: Index, to: Index, count: int) -> None:
        """Bring as many elements as are widened at once into the scratch, `count` times."""
        size = self.plan.widening.elements
        for at in range(0, count * size, size):
            codes = load(self.image, source + at, size)
            store(self.x, to + at, self.plan.widen(codes), size)
