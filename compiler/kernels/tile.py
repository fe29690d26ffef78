"""Register tiles: how many pixels and vectors of channels one inner loop computes."""

import math
from dataclasses import dataclass

from edgekiln.targets.isa.base import MicroKernel

# What the model charges beside dot products and epilogue. Measured on Zen 4 and Sapphire Rapids it
# need only be right to a factor: it keeps tiny k loops from choosing tiny tiles.
_TILE_CYCLES = 12.0  # addresses, loop control, the first loads


@dataclass(frozen=True, kw_only=True)
class Tile:
    """`pixels` × `vectors` accumulators, each `splits` times: partial sums over k hide the latency
    of the dot product where the tile alone is too small to.
    """

    pixels: int
    vectors: int
    splits: int = 1


def default_tile(mk: MicroKernel, *, pixels: int, vectors: int, lanes: int, k_steps: int) -> Tile:
    """The cheapest tile by a count of instructions.

    Args:
        pixels: in one row of the output, which tiles cover with overlap; at least `mk.rows`.
        vectors: of output channels.
        lanes: of the first, widest vector.
        k_steps: dot products per accumulator.
    """
    candidates = [
        Tile(pixels=p, vectors=v, splits=_splits(mk, p, v, lanes, k_steps))
        for v in range(1, min(vectors, mk.registers) + 1)
        for p in range(mk.rows, min(pixels, mk.registers) + 1, mk.rows)
        if mk.fits(p, v, lanes)
    ]
    return min(candidates, key=lambda tile: _cycles(mk, tile, pixels, vectors, lanes, k_steps))


def _splits(mk: MicroKernel, pixels: int, vectors: int, lanes: int, k_steps: int) -> int:
    """Enough independent sums to keep the dot units busy, as far as registers allow."""
    sums = pixels * vectors * mk.width(lanes)
    wanted = math.ceil(mk.dot_latency * mk.dots_per_cycle / sums)
    while wanted > 1 and (wanted > k_steps or not mk.fits(pixels * wanted, vectors, lanes)):
        wanted -= 1
    return wanted


def _cycles(
    mk: MicroKernel, tile: Tile, pixels: int, vectors: int, lanes: int, k_steps: int
) -> float:
    total = 0.0
    full, rest = divmod(vectors, tile.vectors)
    for count, width in ((full, tile.vectors), (1 if rest else 0, rest)):
        registers = width * mk.width(lanes)
        sums = tile.pixels * registers
        dots = sums / mk.dots_per_cycle
        # Two broadcasts or one register of weights can be loaded in a cycle.
        loads = tile.pixels * mk.k_step / mk.x_bytes / 2 + registers
        latency = mk.dot_latency / tile.splits
        step = max(dots, loads, latency)
        total += count * (k_steps * step + sums * mk.epilogue_cycles + _TILE_CYCLES)
    return total * math.ceil(pixels / tile.pixels)
