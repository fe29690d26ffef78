"""Which elements of k are multiplied together where neighbouring products share 16 bits.

PMADDUBSW adds two u8·s8 products and saturates to int16. Two products of codes up to 255 are exact
there if their weights' magnitudes sum to at most 128: 255·128 = 32,640. The weights are known, and
the order of k is free, so for each block of channels k is cut into pairs that are exact in every
channel, and two pairs are a step:

    natural   four elements side by side, whose two halves are such pairs: one load of a word
    picked    any two such pairs out of 16 elements side by side: one load, and a byte shuffle

An element that fits no other one is a pair of its own, with a weight of 0 beside it. So every
weight has a place, -128 too, and nothing is ever saturated.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekiln.targets.isa.x86_pairs import MOST_OF_PAIR

WORD = 4  # elements of a step
WINDOW = 16  # elements of which a step picks its own
_AT_ONCE = 1024  # windows that are looked at together, for memory's sake
_NOBODY = WINDOW + 1  # more neighbours than an element can have


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockSteps:
    """The steps of a block of channels.

    Args:
        run: elements of a tap.
        natural: (steps,) int32, the first of four elements side by side.
        picked: (steps,) int32, the first of sixteen.
        places: (steps, 4) int8, which of them; those of a pair are neighbours.
        used: (steps, 4) bool, whether an element is multiplied there; else its weight is 0.
    """

    run: int
    natural: NDArray[np.int32]
    picked: NDArray[np.int32]
    places: NDArray[np.int8]
    used: NDArray[np.bool_]

    @property
    def elements(self) -> NDArray[np.int64]:
        """(steps, 4): which element of k each weight is for, -1 where there is none."""
        natural = self.natural[:, None].astype(np.int64) + np.arange(WORD)
        # What lies behind a tap is read with it, and counts nothing.
        natural[self.natural[:, None] % self.run + np.arange(WORD) >= self.run] = -1
        picked = np.where(self.used, self.picked[:, None].astype(np.int64) + self.places, -1)
        return np.concatenate([natural, picked])


def steps_of(weights: NDArray[np.int8], taps: int) -> BlockSteps:
    """Cut k into steps that are exact for all channels of a block.

    Args:
        weights: (channels, k), the taps one after the other, each with as many elements.
        taps: of each only its own elements lie side by side in the image.
    """
    channels, k = weights.shape
    run = k // taps
    windows = -(-run // WINDOW)
    sizes = np.zeros((channels, taps, windows * WINDOW), np.int16)
    sizes[:, :, :run] = np.abs(weights.astype(np.int16)).reshape(channels, taps, run)
    of_windows = sizes.reshape(channels, taps * windows, WINDOW).swapaxes(0, 1)
    # Where in k each window begins.
    starts = np.add.outer(np.arange(taps) * run, np.arange(windows) * WINDOW).reshape(-1)
    parts = [*_parts(of_windows, starts.astype(np.int32))]
    natural, picked, places, used = (np.concatenate(part) for part in zip(*parts, strict=True))
    return BlockSteps(run=run, natural=natural, picked=picked, places=places, used=used)


def _parts(
    windows: NDArray[np.int16], starts: NDArray[np.int32]
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int8], NDArray[np.bool_]]]:
    """The fields of `BlockSteps` for some windows at a time."""
    for at in range(0, len(windows), _AT_ONCE):
        sizes, begin = windows[at : at + _AT_ONCE], starts[at : at + _AT_ONCE]
        fits = _fitting(sizes)
        # Elements with no weight but 0 are left out.
        wanted = sizes.any(axis=1)
        words, of_word = wanted.reshape(-1, WINDOW // WORD, WORD), np.arange(0, WINDOW, WORD)
        whole = fits[:, of_word, of_word + 1] & fits[:, of_word + 2, of_word + 3] & words.any(2)
        window, word = np.nonzero(whole)
        natural = begin[window] + WORD * word.astype(np.int32)
        pairs = _pairs(fits, wanted & ~np.repeat(whole, WORD, axis=1))
        yield natural, *_picked(pairs, begin)


def _fitting(sizes: NDArray[np.int16]) -> NDArray[np.bool_]:
    """(windows, 16, 16): whether two elements may be a pair, in every channel."""
    largest = np.zeros((len(sizes), WINDOW, WINDOW), np.int16)
    for of_channel in sizes.swapaxes(0, 1):
        np.maximum(largest, of_channel[:, :, None] + of_channel[:, None, :], out=largest)
    return largest <= MOST_OF_PAIR


def _pairs(fits: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Match the wanted elements of every window: (windows, 16, 2), the pairs first, then -1.

    Whoever has the fewest partners left chooses first, and takes the one that has the fewest. The
    second of a pair is -1 where none is left.
    """
    count = np.arange(len(fits))
    fits = fits & ~np.eye(WINDOW, dtype=bool)
    left = wanted.copy()
    pairs = np.full((len(fits), WINDOW, 2), -1, np.int8)
    for turn in range(WINDOW):
        partners = fits & left[:, :, None] & left[:, None, :]
        degrees = partners.sum(axis=2)
        first = np.where(left, degrees, _NOBODY).argmin(axis=1)
        theirs = partners[count, first]
        second = np.where(theirs, degrees, _NOBODY).argmin(axis=1)
        some, both = left.any(axis=1), theirs.any(axis=1)
        if not some.any():
            break
        pairs[:, turn, 0] = np.where(some, first, -1)
        pairs[:, turn, 1] = np.where(both, second, -1)
        left[count, first] = False
        left[count[both], second[both]] = False
    return pairs


def _picked(
    pairs: NDArray[np.int8], starts: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int8], NDArray[np.bool_]]:
    """Steps of two pairs each: where their windows begin, their places, and which are used."""
    places = pairs.reshape(len(pairs), WINDOW // 2, WORD)
    window, step = np.nonzero((places >= 0).any(axis=2))
    chosen = places[window, step]
    return starts[window], chosen.clip(0), chosen >= 0
