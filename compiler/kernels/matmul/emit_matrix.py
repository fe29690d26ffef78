"""A product of activations on a matrix unit: tiles of rows × columns, by way of a scratch memory.

Beside its results each row has one more accumulator, the product with ones: Σ a, in every lane. So
the unit itself computes what the zero point of b asks for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edgekiln.compiler.kernels.channels import Block
from edgekiln.compiler.kernels.epilogue.base import Epilogue
from edgekiln.compiler.kernels.matmul.plan import MatMulOperands, PackedPlan, PlacedBlock
from edgekiln.compiler.kernels.matrix import MatrixTile, RegisterPlace
from edgekiln.compiler.kernels.tir import let, loop, register, repeat
from edgekiln.targets.isa.expressions import Buffer, Index, load, splat
from edgekiln.targets.isa.matrix import MatrixUnit


@dataclass(frozen=True)
class MatMulMatrixEmitter:
    """Emits the code of a tile."""

    plan: PackedPlan
    operands: MatMulOperands
    epilogue: Epilogue
    configuration: Buffer
    ones: Buffer

    @property
    def tile(self) -> MatrixTile:
        """The plan's tile, which is one of the unit's."""
        assert self.plan.tile
        return self.plan.tile

    @property
    def unit(self) -> MatrixUnit:
        """The instructions of the matrix unit."""
        return self.tile.unit

    @contextmanager
    def ready(self) -> Iterator[None]:
        """What surrounds all tiles: the unit's registers have their shapes."""
        self.unit.configure(self.configuration)
        yield
        self.unit.release()

    def emit(self, places: Iterator[PlacedBlock], source: Index, to: Index) -> None:
        """Emit a tile of rows in every block of columns; see `MatMulTileEmitter`."""
        for block, weights, column in places:
            self._emit(block, source, weights, to + column)

    def _emit(self, block: Block, source: Index, weights: Index, to: Index) -> None:
        """Emit one tile: products, then the results row by row."""
        (vector,) = block.vectors
        self._start(block, weights)
        self._accumulate(block, source, weights)
        # A row of the scratch memory.
        width = self.unit.columns + vector.lanes  # Σ a, and the results
        scratch = register("int32", self.tile.splits * self.tile.pixels * width)
        self._store(scratch, width)
        self._results(block, scratch, width, to)

    def _start(self, block: Block, weights: Index) -> None:
        """Set every row of the first split's results to -z_a·Σ b, the others to zero."""
        tile, width = self.tile, self.plan.mk.k_step
        # Where the packed matrix has -z_a·Σ b.
        behind = let(weights + self.plan.steps * block.channels * width)
        for split in range(tile.splits):
            for row in range(tile.down):
                self.unit.zero(tile.accumulator(split, row, 0))
                for column in range(block.channels // self.unit.columns):
                    acc = tile.accumulator(split, row, 1 + column)
                    if split:
                        self.unit.zero(acc)
                    else:
                        at = behind + column * self.unit.columns * width
                        # A stride of 0 loads the same sums into every row.
                        self.unit.load(acc, self.operands.packed, at, 0)

    def _accumulate(self, block: Block, source: Index, weights: Index) -> None:
        """Add the products of all steps of k, in turn to the splits."""
        tile, size = self.tile, self.tile.depth
        steps = self.plan.steps * self.plan.mk.k_step // size
        # The last step has ones of its own, and is never part of the loop.
        last = steps - 1
        whole = last // tile.splits
        if whole:
            with repeat(whole) as group:
                for split in range(tile.splits):
                    self._step(block, source, weights, (split, group * tile.splits + split, 0))
        for step in range(whole * tile.splits, steps):
            of_ones = size * self.unit.columns if step == last else 0
            self._step(block, source, weights, (step % tile.splits, step, of_ones))

    def _step(
        self, block: Block, source: Index, weights: Index, at: tuple[int, Index, int]
    ) -> None:
        """Add the products of one step of k.

        Args:
            at: its split, its number, and where its ones lie.
        """
        tile, unit, a_row = self.tile, self.unit, self.plan.product.a.row
        split, step, of_ones = at
        word = block.channels * self.plan.mk.k_step
        first = source + step * tile.depth
        lefts = [
            RegisterPlace(self.operands.a, first + row * tile.rows * a_row, a_row)
            for row in range(tile.down)
        ]
        packed = weights + step * (tile.depth // self.plan.mk.k_step * word)
        codes = [
            RegisterPlace(self.operands.packed, packed + i, word)
            for i in range(0, word, unit.row_bytes)
        ]
        # The ones are the first of the right operands.
        tile.multiply(split, lefts, [RegisterPlace(self.ones, of_ones, unit.row_bytes), *codes])

    def _store(self, scratch: Buffer, width: int) -> None:
        """Store all accumulators: [split][row][Σ a, results], `width` int32 a row."""
        tile, unit = self.tile, self.unit
        for split in range(tile.splits):
            for row in range(tile.down):
                first = (split * tile.pixels + row * tile.rows) * width
                for column in range(width // unit.columns):
                    acc = tile.accumulator(split, row, column)
                    unit.store(acc, scratch, first + column * unit.columns, 4 * width)

    def _results(self, block: Block, scratch: Buffer, width: int, to: Index) -> None:
        """Emit the corrections and the epilogue, row by row."""
        tile, (vector,), mk = self.tile, block.vectors, self.plan.mk
        lanes = vector.lanes
        with loop(0, tile.pixels) as row:
            places = [let((split * tile.pixels + row) * width) for split in range(tile.splits)]
            # Σ a lies in every lane of its accumulator; one is enough.
            of_row = [load(scratch, at) for at in places]
            sums = [load(scratch, at + self.unit.columns, lanes) for at in places]
            # z_b·Σ a, the same for all columns of the row.
            correction = let(sum(of_row[1:], of_row[0]) * load(self.operands.zero, 0))
            value = sum(sums[1:], sums[0]) + self.epilogue.bias(0, lanes)
            y = to + row * self.plan.product.y.row
            self.epilogue.emit(
                value - splat(correction, lanes), 0, y, None, lanes, vector.valid,
                mk.interleaved(lanes),
            )  # fmt: skip
