"""Register tiles: how many pixels and vectors of channels one inner loop computes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from edgekiln.compiler.kernels.channels import Vector, distinct_lanes, vectors
from edgekiln.targets.isa.base import MicroKernel

# Of tuning files: raise it when a tile means something else, or others will be best.
VERSION = 2

# How a product is computed: dot products of vectors, of activations that were widened before, the
# products of a matrix unit, or Winograd's filtering.
Algorithm = Literal["direct", "widened", "matrix", "winograd"]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """What one inner loop computes: `pixels` × `vectors` accumulators, each `splits` times.

                    vectors of channels
                    v0    v1    v2
        pixel p0   acc   acc   acc         each step of k loads one word of every pixel and one
        pixel p1   acc   acc   acc         register of weights for every vector, and multiplies
        pixel p2   acc   acc   acc         each with each

    Splits are partial sums over k. They hide the latency of the dot product where the tile alone is
    too small to.

    Args:
        pixels: in Winograd's filtering tiles of 4×4 pixels.
        vectors: of channels; on a matrix unit its accumulators beside each other; in Winograd's
            filtering such registers full of tiles that are transformed together.
        lanes: of the widest vector that may be used; None: the instruction set's widest.
        items_first: a work item's channels are all computed before the next item, so that its input
            stays in the cache; else all items of a block of channels, so that its weights do.
        rows: of the output of a depthwise convolution.
        algorithm: what the other fields are a choice of.
        compact: Winograd's filtering transforms the weights in every call, from memory where they
            take no more bytes than otherwise.
    """

    pixels: int
    vectors: int
    splits: int = 1
    lanes: int | None = None
    items_first: bool = False
    rows: int = 1
    algorithm: Algorithm = "direct"
    compact: bool = False


def alternating(*rankings: Sequence[tuple[float, Tile]]) -> list[Tile]:
    """Merge the tiles of several algorithms: the cheapest of all, the first ones of the others,
    every second one, and so on.

    So some of each are among the first: a model ranks the tiles of one algorithm better than it
    compares two.

    Args:
        rankings: tiles with their cycles, of each algorithm the cheapest first.
    """
    # The ranking whose first tile is cheapest comes first.
    in_order = sorted(filter(None, rankings), key=lambda ranking: ranking[0][0])
    rows = zip_longest(*in_order)
    return list(dict.fromkeys(choice[1] for row in rows for choice in row if choice))


def ranked(
    mk: MicroKernel, *, pixels: int, channels: int, k_steps: int
) -> list[tuple[float, Tile]]:
    """Return every tile that stays in registers, and its cost by a count of instructions, the
    cheapest first.

    Args:
        pixels: in one row of the output, which tiles cover with overlap; at least `mk.rows`.
        channels: of the output.
        k_steps: dot products per accumulator.
    """
    found = []
    for lanes in distinct_lanes(channels, mk):
        columns = vectors(channels, mk, lanes)
        for count in range(1, len(columns) + 1):
            registers = max(_registers(mk, columns, count))
            # Tiles have whole accumulators' worth of pixels.
            for p in range(mk.rows, min(pixels, mk.registers) + 1, mk.rows):
                if mk.fits(p, registers):
                    splits = _splits(mk, p, registers, k_steps)
                    tile = Tile(pixels=p, vectors=count, splits=splits, lanes=lanes)
                    found.append((_cycles(mk, tile, pixels, channels, k_steps), tile))
    return sorted(found, key=lambda choice: choice[0])


def _cycles(mk: MicroKernel, tile: Tile, pixels: int, channels: int, k_steps: int) -> float:
    """The cycles of `pixels`, roughly."""
    costs = mk.loop_costs
    columns = vectors(channels, mk, tile.lanes)
    total = tile.pixels * sum(mk.width(v.lanes) * mk.epilogue_cost(v.lanes) for v in columns)
    if tile.vectors % mk.joins == 0:
        # Scalar sums leave together, as one vector.
        total /= mk.joins
    for registers in _registers(mk, columns, tile.vectors):
        # All in dot products of a register, which are then counted in cycles.
        dots = tile.pixels * (registers + mk.operand_dots) + registers * mk.weight_dots
        # A register of weights takes the time of a whole cycle's loads.
        near = k_steps * registers * mk.register * mk.k_step <= costs.near_bytes
        loads = tile.pixels * mk.k_step / mk.x_bytes / costs.loads_per_cycle
        loads += registers if near else registers * costs.far_loads
        latency = mk.dot_latency / tile.splits
        busy = dots / mk.dots_per_cycle
        # An in-order core waits for its loads; another one has them ready in time.
        work = busy + loads if mk.in_order else max(busy, loads)
        total += k_steps * max(work, latency) + costs.tile_cycles
    return total * math.ceil(pixels / tile.pixels)


def _registers(mk: MicroKernel, columns: tuple[Vector, ...], per_block: int) -> list[int]:
    """How many registers each block of channels takes."""
    widths = [mk.width(v.lanes) for v in columns]
    return [sum(widths[i : i + per_block]) for i in range(0, len(widths), per_block)]


def _splits(mk: MicroKernel, pixels: int, registers: int, k_steps: int) -> int:
    """Enough independent sums to keep the dot units busy, as far as registers allow."""
    # As many sums as dot products can be under way at once.
    wanted = math.ceil(mk.dot_latency * mk.dots_per_cycle / (pixels * registers))
    while wanted > 1 and (wanted > k_steps or not mk.fits(pixels * wanted, registers)):
        wanted -= 1
    return wanted
