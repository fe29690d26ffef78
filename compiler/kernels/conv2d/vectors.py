"""A convolution on vectors, of codes or of floats: by its definition or by Winograd's filtering."""

from typing import TYPE_CHECKING

from edgekiln.compiler.kernels.conv2d import winograd_plan
from edgekiln.compiler.kernels.conv2d.emit_tile import TileEmitter
from edgekiln.compiler.kernels.conv2d.emit_winograd import WinogradEmitter
from edgekiln.compiler.kernels.conv2d.plan import Plan
from edgekiln.compiler.kernels.conv2d.winograd_plan import WinogradPlan
from edgekiln.compiler.kernels.epilogue.floats import AnyEpilogue
from edgekiln.compiler.kernels.tir import Buffer
from edgekiln.targets.isa.base import Expr, MicroKernel

if TYPE_CHECKING:
    from edgekiln.compiler.kernels.conv2d.floats import FloatConv2d
    from edgekiln.compiler.kernels.conv2d.kernel import Conv2d

VectorPlan = Plan | WinogradPlan


def vector_plans(conv: "Conv2d | FloatConv2d", mk: MicroKernel) -> list[VectorPlan]:
    """One for each algorithm there is, or that of its tile, if it is one of these."""
    algorithm = conv.tile and conv.tile.algorithm
    plans: list[VectorPlan] = []
    if algorithm in (None, "direct"):
        plans.append(Plan(conv, mk.products))
    if algorithm in (None, "winograd") and winograd_plan.applies(conv, mk):
        plans.append(WinogradPlan(conv, mk))
    return plans


def emit(
    plan: VectorPlan, x: Buffer, weights: Buffer, epilogue: AnyEpilogue, items: tuple[Expr, Expr]
) -> None:
    """Emit the loops over a call's items."""
    if isinstance(plan, WinogradPlan):
        WinogradEmitter(plan, x, weights, epilogue).emit(*items)
    else:
        TileEmitter(plan, x, weights, epilogue).emit(*items)
