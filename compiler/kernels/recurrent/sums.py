"""The product of the state with a layer's weights, and what becomes of its sums."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.conv2d.emit_tile import ConvolutionTileEmitter
from edgekiln.compiler.kernels.conv2d.plan import DirectPlan
from edgekiln.compiler.kernels.conv2d.spec import ConvolutionSpec
from edgekiln.compiler.kernels.epilogue.base import Epilogue, PerLane
from edgekiln.compiler.kernels.epilogue.finish import SumsFinish
from edgekiln.compiler.kernels.epilogue.store import store_lanes
from edgekiln.compiler.kernels.epilogue.sums import folded_bias
from edgekiln.compiler.kernels.recurrent.cell import place
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    cast,
    const,
    inverse,
    load,
    reinterpret,
    rounded,
    shuffle,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class GateWeights:
    """What the sums of some gates are made of, a row a result.

    Args:
        weight: (rows, width).
        bias: int32, at the scale of the sums.
        factor: what sums are multiplied by.
        first: the first of the rows among those of all gates.
    """

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    factor: NDArray[np.float32]
    first: int


class GateEpilogue(Epilogue):
    """Sums of some gates become places of what their functions take, int32, with the data's part
    added; or, where a reset gate stands between the two, the bits of float32 steps without it.
    """

    data: Buffer  # float32 steps
    row: Index  # where the data of this step begin

    def __init__(
        self, mk: MicroKernel, conv: ConvolutionSpec, gates: GateWeights, *, apart: bool
    ) -> None:
        super().__init__(mk, conv.y, None)
        self._conv, self._gates, self._apart = conv, gates, apart

    def declare_constants(self, k: KernelBuilder, per_lane: PerLane) -> None:
        gates = self._gates
        self._bias = k.constant(per_lane(folded_bias(self._conv)).astype(np.int32))
        self._factor = k.constant(per_lane(gates.factor))

    def lies_in(self, scratch: Buffer) -> None:
        """Where results go: the rows of all gates, batch by batch."""
        self._out = scratch

    def zero(self) -> Expr:
        return const(0)

    def emit(
        self, acc: Expr, at: Index, y: Index, other: Index | None, lanes: int, valid: int,
        order: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        del other
        mk = self.mk
        scaled = cast(acc, "float32", lanes) * load(self._factor, at, lanes)
        to = y + self._gates.first
        if self._apart:
            value = reinterpret(scaled, "int32", lanes)
        else:
            of_data = load(self.data, self.row + to, lanes)
            value = place(mk, rounded(scaled, lanes) + of_data, lanes)
        value = value if order is None else shuffle([value], inverse(order))
        store_lanes(self._out, to, value, "int32", lanes, valid)


class GateSums:
    """A product of the state's codes with the weights of some gates, for all of a batch."""

    def __init__(
        self, mk: MicroKernel, codes: Nhwc, gates: GateWeights, rows: int, *, apart: bool = False
    ) -> None:
        y = Nhwc(n=1, h=1, w=codes.w, c=len(gates.weight), dtype="int32", pitch=rows)
        conv = ConvolutionSpec(
            x=codes, y=y, weight=gates.weight[:, :, None, None], bias=gates.bias,
            finish=SumsFinish(),
        )  # fmt: skip
        self.plan = DirectPlan(conv, mk.products)
        self.epilogue = GateEpilogue(self.plan.mk, conv, gates, apart=apart)

    def declare(self, k: KernelBuilder) -> None:
        """Declare the weights, and what belongs to them."""
        self._weights = k.constant(self.plan.packed_weights())
        self.epilogue.declare_constants(k, self.plan.per_lane)

    def emit(self, codes: Buffer, data: Buffer, row: Index, out: Buffer) -> None:
        """Emit all sums of a step."""
        epilogue = self.epilogue
        epilogue.data, epilogue.row = data, row
        epilogue.lies_in(out)
        tiles = ConvolutionTileEmitter(self.plan, codes, self._weights, epilogue)
        tiles.emit(const(0), const(self.plan.work))
