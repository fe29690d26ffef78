"""The inner loop of a convolution of bytes in pairs: which elements a step takes lies in memory."""

from collections.abc import Callable
from dataclasses import dataclass

from edgekiln.compiler.kernels.conv2d.emit_tile import ConvolutionTileEmitter
from edgekiln.compiler.kernels.conv2d.paired_plan import HEADER, PICKED
from edgekiln.compiler.kernels.conv2d.pairing import WINDOW, WORD
from edgekiln.compiler.kernels.conv2d.plan import Channels
from edgekiln.compiler.kernels.tir import let, loop, store
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, const, load

# From where a pixel's elements lie, and how many lanes there are, to the other factor of `dot`.
Operand = Callable[[Index, int], Expr]


@dataclass(frozen=True)
class PairedTileEmitter(ConvolutionTileEmitter):
    """Emits the loops over register tiles; see `PairedPlan` for the table."""

    table: Buffer

    def _accumulate(self, channels: Channels, first: Index, sums: list[list[list[Buffer]]]) -> None:
        """Add all products: the natural steps, then the picked ones."""
        mk = self.plan.mk
        header = let(channels.number * HEADER)
        weights, steps, natural, picked = (let(load(self.table, header + i)) for i in range(HEADER))
        step_bytes = channels.block.channels * mk.k_step
        with loop(const(0), natural) as i:
            offset = let(first + load(self.table, steps + i))

            def word(pixel: Index, lanes: int) -> Expr:
                return mk.operand([load(self.x, offset + pixel, WORD)], 0, lanes)

            self._products(word, let(weights + i * step_bytes), channels, sums)
        behind, rest = let(steps + natural), let(weights + natural * step_bytes)
        with loop(const(0), picked) as i:
            entry = let(behind + i * PICKED)
            begin = let(first + load(self.table, entry))
            places = let(load(self.table, entry + 1))

            def some(pixel: Index, lanes: int) -> Expr:
                return mk.picked(load(self.x, begin + pixel, WINDOW), places, lanes)

            self._products(some, let(rest + i * step_bytes), channels, sums)

    def _products(
        self, operand: Operand, weights: Index, channels: Channels,
        sums: list[list[list[Buffer]]],
    ) -> None:  # fmt: skip
        """Add a step's products to every accumulator."""
        conv, mk = self.plan.conv, self.plan.mk
        stride = conv.strides[1] * conv.x.c
        (tile,) = sums  # the sums of a paired step depend on each other for a cycle only
        for pixel, accumulators in enumerate(tile):
            lane = 0
            for vector, acc in zip(channels.block.vectors, accumulators, strict=True):
                n = vector.lanes
                w = load(self.weights, weights + lane * mk.k_step, n * mk.k_step)
                store(acc, 0, mk.dot(load(acc, 0, n), operand(pixel * stride, n), w, n), n)
                lane += n
