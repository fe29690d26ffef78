"""Output channels as vectors, vectors as blocks, and constants packed in that order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from edgekiln.targets.isa.base import MicroKernel

# Which channel of a vector each of its lanes has, by the vector's lanes; None: they are in order.
Order = Callable[[int], Sequence[int] | None]


@dataclass(frozen=True)
class Vector:
    """Channels start..start+valid-1 in a vector of `lanes`."""

    start: int
    lanes: int
    valid: int  # fewer than lanes only when there are fewer channels than lanes


@dataclass(frozen=True)
class Block:
    """Blocks of equal vectors, one after the other."""

    count: int
    vectors: tuple[Vector, ...]  # of the first of them

    @property
    def channels(self) -> int:
        """How many channels lie between the first one of a block and that of the next."""
        return sum(vector.lanes for vector in self.vectors)


def vectors(channels: int, mk: MicroKernel, most: int | None = None) -> tuple[Vector, ...]:
    """Cover the channels with few registers: by whole vectors, of which the last one overlaps what
    is before it.

        20 channels, vectors of 16, 8 and 4 lanes:  ├──────── 16 ────────┤├ 4 ┤
        22 channels:                                ├──────── 16 ────────┤
                                                                 ├── 8 ──┤  (2 are computed twice)

    Args:
        most: lanes that a vector may have.
    """
    widths = [lanes for lanes in mk.lanes if most is None or lanes <= most]
    register = min(mk.register, widths[0])
    if channels < register:
        # There is nothing to overlap: one vector is stored in part.
        return (Vector(0, min(width for width in widths if width >= channels), channels),)
    result: list[Vector] = []
    rest = channels
    for width in widths:
        # Narrower than a register only where that ends exactly with the last channel.
        while rest >= width and (width >= register or rest == width):
            result.append(Vector(channels - rest, width, width))
            rest -= width
    if rest:
        width = min(width for width in widths if width >= rest)
        # The rest: a vector that ends with the last channel and begins before it.
        result.append(Vector(channels - width, width, width))
    return tuple(result)


def distinct_lanes(channels: int, mk: MicroKernel) -> list[int]:
    """Values of `most` for `vectors`: one for each way to cover the channels, widest first."""
    ways = {vectors(channels, mk, lanes): lanes for lanes in reversed(mk.lanes)}
    return list(reversed(ways.values()))


def cover(channels: int, mk: MicroKernel, most: int) -> tuple[Vector, ...]:
    """Cover the channels so that the epilogue is cheapest.

    Where it costs little more for a wide vector than for a narrow one, one wide vector, which
    overlaps what is before it or is stored in part, may do for several.

    Args:
        most: lanes that a vector may have.
    """

    def cost(chosen: tuple[int, ...]) -> float:
        return sum(mk.width(lanes) * mk.epilogue_cost(lanes) for lanes in chosen)

    plain = vectors(channels, mk, most)
    # Only what the widest vectors leave over is a choice.
    whole = channels // most * most
    widths = [lanes for lanes in mk.lanes if min(mk.register, most) <= lanes <= most]
    rests = _covers(channels - whole, widths)
    best = (most,) * (whole // most) + min(rests, key=lambda rest: (cost(rest), len(rest)))
    # Where nothing is gained, what overlaps least.
    if cost(best) >= cost(tuple(vector.lanes for vector in plain)):
        return plain
    starts = accumulate(best[:-1], initial=0)
    return tuple(
        Vector(max(0, min(start, channels - lanes)), lanes, min(lanes, channels))
        for start, lanes in zip(starts, best, strict=True)
    )


def _covers(channels: int, widths: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every list of widths, none wider than the one before, that holds the channels: the last one
    perhaps in part.
    """
    if channels <= 0:
        yield ()
        return
    for at, width in enumerate(widths):
        for more in _covers(channels - width, widths[at:]):
            yield (width, *more)


def blocks(every: tuple[Vector, ...], per_block: int) -> tuple[Block, ...]:
    """Group the vectors; equal neighbours become one block with a count."""
    chunks = [every[i : i + per_block] for i in range(0, len(every), per_block)]
    result: list[Block] = []
    end = 0
    for chunk in chunks:
        shape = [vector.lanes for vector in chunk]
        # Only what lies side by side without overlapping can be one step of a loop.
        # Whether it begins where the one before ended.
        plain = chunk[0].start == end and len(chunk) == per_block
        end = chunk[-1].start + chunk[-1].valid
        regular = plain and end - chunk[0].start == sum(shape)
        if result and regular and [v.lanes for v in result[-1].vectors] == shape:
            result[-1] = Block(result[-1].count + 1, result[-1].vectors)
        else:
            result.append(Block(1, chunk))
    return tuple(result)


def expand(block: Block) -> "list[tuple[Vector, ...]]":
    """The vectors of each repetition of the block."""
    step = block.channels
    return [
        tuple(Vector(v.start + i * step, v.lanes, v.valid) for v in block.vectors)
        for i in range(block.count)
    ]


def pack_channels(
    array: NDArray[np.generic], layout: tuple[Block, ...], order: Order | None = None
) -> NDArray[np.generic]:
    """Return the rows of (channels, …) in the order of the vectors, one a lane; lanes without a
    channel are 0.
    """
    parts = []
    for block in layout:
        for chunk in expand(block):
            for vector in chunk:
                part = np.zeros((vector.lanes, *array.shape[1:]), array.dtype)
                part[: vector.valid] = array[vector.start : vector.start + vector.valid]
                places = order(vector.lanes) if order else None
                parts.append(part if places is None else part[places])
    return np.concatenate(parts)


def pack_weights(
    steps: NDArray[np.generic], layout: tuple[Block, ...], mk: MicroKernel
) -> NDArray[np.generic]:
    """Return (channels, k steps, k_step) as [block][k step][vector][lane][k_step], flat; missing
    lanes are 0.

    So the loop over k reads the weights of a block from one end to the other.
    """
    _, count, width = steps.shape
    parts = []
    for block in layout:
        for chunk in expand(block):
            rows = []
            for vector in chunk:
                row = np.zeros((count, vector.lanes, width), steps.dtype)
                source = steps[vector.start : vector.start + vector.valid]
                row[:, : vector.valid] = source.transpose(1, 0, 2)
                rows.append(mk.arrange(row))
            parts.append(np.concatenate(rows, axis=1).reshape(-1))
    return np.concatenate(parts)
