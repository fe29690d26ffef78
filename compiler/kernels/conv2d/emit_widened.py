"""A convolution on widened activations: first a strip of the image is widened, then multiplied."""

from dataclasses import dataclass, replace

from edgekiln.compiler.kernels.conv2d.emit_tile import ConvolutionTileEmitter
from edgekiln.compiler.kernels.conv2d.widened_plan import WidenedPlan
from edgekiln.compiler.kernels.tir import let, loop, repeat, store
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, load


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
                for channels in plan.channel_blocks():
                    for tile in plan.tiles_of_strip():
                        replace(self, strip=strip)._tile(channels, item, strip + tile)

    def _first(self, channel: Index, item: Expr, start: Index) -> Index:
        del item  # the scratch holds a strip of it
        conv = self.plan.conv
        first: Index = let((start - self.strip) * (conv.strides[1] * conv.x.c) + channel)
        return first

    def _widen(self, item: Expr, strip: Index) -> None:
        """Bring what a strip reads into the scratch."""
        plan = self.plan
        first = super()._first(0, item, strip)
        down = plan.conv.dilations[0] * plan.conv.x.row
        size = plan.widening.elements
        with repeat(plan.kh) as row:
            source, to = let(first + row * down), let(row * plan.pitch)
            with repeat(plan.pitch // size) as i:
                codes = load(self.image, source + i * size, size)
                store(self.x, to + i * size, plan.widening.widen(codes), size)
