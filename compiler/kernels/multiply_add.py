"""Products and sums that approximate functions: a fused multiply-add where the chip has one, and
what is nearly as good where imitating it would take thirty instructions.
"""

from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import Expr
from edgekiln.targets.isa.fused import in_float64


def approximate_fma(mk: MicroKernel, a: Expr, b: Expr, c: Expr, lanes: int) -> Expr:
    """Return a·b + c in float32, rounded once or twice."""
    return mk.fma(a, b, c, lanes) if mk.fuses else c + a * b


def cancelling_fma(mk: MicroKernel, a: Expr, b: Expr, c: Expr, lanes: int) -> Expr:
    """Return a·b + c in float32, of which the leading digits cancel: no digit of the product is
    lost.
    """
    return mk.fma(a, b, c, lanes) if mk.fuses else in_float64(a, b, c, lanes)
