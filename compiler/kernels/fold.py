"""Reductions of rows: vector by vector, then the lanes of several rows' vectors at once."""

from collections.abc import Callable, Sequence

from edgekiln.compiler.kernels.tir import from_lane, let, register, repeat, store, to_lane
from edgekiln.targets.isa.base import MicroKernel
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

_ROWS = 4  # that are worked on at once, where there are as many
_TOP_BIT = 0x80  # of a byte

Combine = Callable[[Expr, Expr], Expr]


def rows_at_once(mk: MicroKernel, rows: int, count: int, most: int = _ROWS) -> int:
    """How many of `rows` rows of `count` values to take together: `most` or less.

    Several rows' lanes are folded in the same instructions, and while one row waits for its result
    the processor goes on with the others.
    """
    lanes = min((width for width in mk.lanes if width <= count), default=1)
    return _ROWS if min(most, rows, lanes) >= _ROWS else 1


def fold(
    widths: tuple[int, ...],
    count: int,
    dtype: str,
    neutral: Expr,
    term: Callable[[Index, int], Expr],
    combine: Combine,
) -> Expr:
    """Combine `term(start, lanes)` over 0..count-1, each element once, to a scalar."""
    partial, lanes = fold_vectors(widths, count, dtype, neutral, term, combine)
    return fold_lanes([partial], lanes, combine)


def fold_vectors(
    widths: tuple[int, ...],
    count: int,
    dtype: str,
    neutral: Expr,
    term: Callable[[Index, int], Expr],
    combine: Combine,
) -> tuple[Expr, int]:
    """Combine as `fold` does, but leave a vector. Returns it and how many lanes it has.

    The last vector overlaps its predecessor; what that one had already is replaced by `neutral`.
    """
    lanes = next((width for width in widths if width <= count), 1)
    whole, rest = divmod(count, lanes)
    if whole == 1:
        partial = let(term(0, lanes))
    else:
        # What was combined so far stays in a register.
        kept = register(dtype, lanes)
        store(kept, 0, splat(neutral, lanes), lanes)
        with repeat(whole) as i:
            value = combine(load(kept, 0, lanes), term(let(i * lanes), lanes))
            store(kept, 0, value, lanes)
        partial = let(load(kept, 0, lanes))
    # The last vector is as narrow as it can be, and what was found so far is folded to its width.
    last = min(width for width in widths if rest <= width <= count) if rest else lanes
    while lanes > last:
        (partial,) = _halved([partial], lanes, lanes, combine)
        lanes //= 2
    if rest:
        value = from_lane(lanes - rest, term(count - lanes, lanes), neutral, lanes)
        partial = let(combine(partial, value))
    return partial, lanes


def fold_lanes(vectors: Sequence[Expr], lanes: int, combine: Combine) -> Expr:
    """Combine the lanes of each vector. The result has one lane for each of them, in their order.

        a₀ a₁ a₂ a₃ | b₀ b₁ b₂ b₃   →   a₀+a₂ a₁+a₃ b₀+b₂ b₁+b₃   →   Σa Σb

    Two vectors are halved in one operation, so four take little more than one.

    Args:
        vectors: a power of two of them, not more than their lanes.
    """
    group = lanes  # that are left of each vector
    while group > 1:
        # Two vectors become one of as many lanes, a lone one is halved.
        pairs = len(vectors) > 1
        vectors = _halved(vectors, lanes, group, combine)
        group //= 2
        lanes = lanes if pairs else lanes // 2
    (folded,) = vectors
    return folded


def row_starts(item: Expr, rows: int, together: int, count: int) -> list[Index]:
    """Where the rows of an item begin; those of the last item overlap the one before.

    Args:
        rows: of `count` values each; an item has `together` of them.
    """
    first = let(minimum(item * together, const(rows - together)))
    return [let((first + row) * count) for row in range(together)]


def fold_rows(rows: Sequence[tuple[Expr, int]], combine: Combine) -> Expr:
    """Combine the lanes that `fold_vectors` left of each row: one lane a row."""
    return let(fold_lanes([vector for vector, _ in rows], rows[0][1], combine))


def fold_dots(
    mk: MicroKernel,
    x: Buffer,
    at: Index,
    count: int,
    factors: Sequence[Callable[[Expr, int], Expr]],
) -> tuple[list[Expr], int]:
    """Sum x·factor(x) over `count` codes from `at` on, for each factor. Returns vectors of int32,
    exact modulo 2³², and how many lanes they have.

    Args:
        factors: int8, of vectors of codes.
    """
    mk = mk.single
    # Vectors of one register at most: their lanes are folded afterwards.
    fitting = [n for n in mk.lanes if n <= mk.register and n * mk.k_step <= count]
    lanes = max(fitting, default=mk.lanes[-1])
    width, zero = lanes * mk.k_step, cast(const(0), mk.activation)
    sums = [register("int32", lanes) for _ in factors]
    for total in sums:
        store(total, 0, splat(const(0), lanes), lanes)

    def add(codes: Expr) -> None:
        codes = let(codes)
        for total, factor in zip(sums, factors, strict=True):
            products = mk.dot(load(total, 0, lanes), codes, factor(codes, width), lanes)
            store(total, 0, products, lanes)

    whole, rest = divmod(count, width)
    if whole:
        with repeat(whole) as i:
            add(load(x, at + i * width, width))
        if rest:
            # Codes that the last whole vector had already count as 0.
            add(from_lane(width - rest, load(x, at + count - width, width), zero, width))
    else:
        add(to_lane(count, load(x, at, width), zero, width))
    return [let(load(total, 0, lanes)) for total in sums], lanes


def ones(codes: Expr, count: int) -> Expr:
    """Factors of 1, which make a sum of codes."""
    del codes
    return splat(cast(const(1), "int8"), count)


def signed(mk: MicroKernel, codes: Expr, count: int) -> Expr:
    """The codes as int8: unsigned ones less 128, which is to flip their top bit."""
    if mk.activation == "int8":
        return codes
    return reinterpret(codes ^ splat(cast(const(_TOP_BIT), "uint8"), count), "int8", count)


def lane(vector: Expr, index: int, lanes: int) -> Expr:
    """One lane, a scalar, of what `fold_lanes` made."""
    return vector if lanes == 1 else shuffle([vector], [index])


def _halved(vectors: Sequence[Expr], lanes: int, group: int, combine: Combine) -> list[Expr]:
    """Combine the halves of each `group` of lanes, two vectors together where there are two."""
    pairs = [vectors[i : i + 2] for i in range(0, len(vectors), 2)]
    half, total = group // 2, lanes * len(pairs[0])
    first = [start + i for start in range(0, total, group) for i in range(half)]
    second = [i + half for i in first]
    return [let(combine(shuffle(pair, first), shuffle(pair, second))) for pair in pairs]
