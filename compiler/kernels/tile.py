"""Register tiles: how many pixels and vectors of channels one inner loop computes."""

import math
from dataclasses import dataclass

from edgekiln.targets.isa.base import MicroKernel

# Cycles the model charges beside the dot products. Measured on Zen 4 and Sapphire Rapids they need
# only be right to a factor: they keep tiny k loops from choosing tiny tiles.
_EPILOGUE_CYCLES = 6.0  # per vector: convert, scale, clamp, round, narrow, store
_TILE_CYCLES = 12.0  # addresses, loop control, the first loads


@dataclass(frozen=True, kw_only=True)
class Tile:
    """`pixels` × `vectors` accumulators, each `splits` times: partial sums over k hide the latency
    of the dot product where the tile alone is too small to.
    """

    pixels: int
    vectors: int
    splits: int = 1


def default_tile(mk: MicroKernel, *, pixels: int, vectors: int, k_steps: int) -> Tile:
    """The cheapest tile by a count of instructions.

    Args:
        pixels: in one row of the output, which tiles cover with overlap.
        vectors: of output channels.
        k_steps: dot products per accumulator.
    """
    candidates = [
        Tile(pixels=p, vectors=v, splits=_splits(mk, p, v, k_steps))
        for v in range(1, min(vectors, mk.registers) + 1)
        for p in range(1, min(pixels, mk.registers) + 1)
        if mk.fits(p, v)
    ]
    return min(candidates, key=lambda tile: _cycles(mk, tile, pixels, vectors, k_steps))


def _splits(mk: MicroKernel, pixels: int, vectors: int, k_steps: int) -> int:
    """Enough independent sums to keep the dot units busy, as far as registers allow."""
    wanted = math.ceil(mk.dot_latency * mk.dots_per_cycle / (pixels * vectors))
    while wanted > 1 and (wanted > k_steps or not mk.fits(pixels * wanted, vectors)):
        wanted -= 1
    return wanted


def _cycles(mk: MicroKernel, tile: Tile, pixels: int, vectors: int, k_steps: int) -> float:
    total = 0.0
    full, rest = divmod(vectors, tile.vectors)
    for count, width in ((full, tile.vectors), (1 if rest else 0, rest)):
        sums = tile.pixels * width
        dots = sums / mk.dots_per_cycle
        # Two broadcasts or one vector of weights can be loaded in a cycle.
        loads = tile.pixels / 2 + width
        latency = mk.dot_latency / tile.splits
        step = max(dots, loads, latency)
        total += count * (k_steps * step + sums * _EPILOGUE_CYCLES + _TILE_CYCLES)
    return total * math.ceil(pixels / tile.pixels)
