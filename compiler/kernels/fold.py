"""Reductions of a row, vector by vector."""

from collections.abc import Callable

from edgekiln.compiler.kernels.tir import Index, bind, from_lane, load, register, store, turns
from edgekiln.targets.isa.base import Expr, pick, splat


def fold(
    widths: tuple[int, ...],
    count: int,
    dtype: str,
    neutral: Expr,
    term: Callable[[Index, int], Expr],
    combine: Callable[[Expr, Expr], Expr],
) -> Expr:
    """Combine `term(start, lanes)` over 0..count-1, each element once: a scalar.

    The last vector overlaps its predecessor; what that one had already is `neutral`.
    """
    lanes = next((width for width in widths if width <= count), 1)
    partial = register(dtype, lanes)
    store(partial, 0, splat(neutral, lanes), lanes)
    with turns(count // lanes) as i:
        value = combine(load(partial, 0, lanes), term(bind(i * lanes), lanes))
        store(partial, 0, value, lanes)
    across, rest = bind(load(partial, 0, lanes)), count % lanes
    last = min(width for width in widths if rest <= width <= count) if rest else 0
    while True:
        if lanes == last:
            value = from_lane(lanes - rest, term(count - lanes, lanes), neutral, lanes)
            across = bind(combine(across, value))
        if lanes == 1:
            return across
        half = lanes // 2
        across = bind(combine(pick([across], range(half)), pick([across], range(half, lanes))))
        lanes = half
