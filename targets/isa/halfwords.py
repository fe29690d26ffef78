"""What products of 16 bits offer a kernel, where no instruction multiplies bytes as they are."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from edgekiln.targets.isa.expressions import Assembly, Expr

Half = Literal["bottom", "top"]


@dataclass(frozen=True, kw_only=True)
class HalfwordUnit(ABC):
    """Words of two int16, and the products of their halves. The methods build TIR expressions."""

    @abstractmethod
    def pair(self, bottom: Expr, top: Expr) -> Expr:
        """Return two int32, each in the range of an int16, as the halves of a word."""

    @abstractmethod
    def dot(self, acc: Expr, word: Expr, weights: Expr, halves: tuple[Half, Half] | None) -> Expr:
        """Return acc + the products of the halves of a word and of int16 × 2 weights, modulo 2³².

        Args:
            halves: of the word and of the weights, which alone are multiplied; None: all are.
        """


@dataclass(frozen=True, kw_only=True)
class TileLoop:
    """All products of a register tile of pixels × channels.

    Args:
        rows: of the filter.
        steps: of a row: words of each channel's weights.
        pixel_bytes: from a widened pixel to the next.
        row_bytes: from a widened row to the next; at least what its steps take.
        weight_bytes: of a weight: 2, or 1 where one pixel is all that it is multiplied with, whose
            elements then lie as `Widening.split` has them.
        split: whether a pixel's elements lie as `Widening.split` has them.
    """

    pixels: int
    channels: int
    rows: int
    steps: int
    pixel_bytes: int
    row_bytes: int
    weight_bytes: int
    split: bool


@dataclass(frozen=True, kw_only=True)
class Widening(ABC):
    """How codes of activations become 16 bits, before they are multiplied.

    Args:
        cycles: to widen an element and to store it.
        elements: that are widened at once.
        scratch_bytes: that may be taken of the stack for what was widened.
        unrolled: products of a pair, at most, in an iteration of the loop over k, or of one step.
        repeats: how often an iteration of the loop that widens does so.
        split_order: which code each element of `split` is, where that takes less than their own
            order.
        lone_bytes: whether weights that serve a single pixel stay bytes: `loop` widens them as
            `split` does.
        lowest_pairs: whether two products of the lowest code and the lowest weight are exact, too.
    """

    cycles: float
    elements: int
    scratch_bytes: int
    unrolled: int
    repeats: int = 1
    split_order: tuple[int, ...] = ()
    lone_bytes: bool = True
    lowest_pairs: bool = True

    @abstractmethod
    def widen(self, codes: Expr) -> Expr:
        """Return so many codes as int16, in their order."""

    def split(self, codes: Expr) -> Expr:
        """Return so many codes as int16, in the order `split_order`."""
        raise NotImplementedError

    def loop(self, tile: TileLoop) -> Assembly | None:
        """The loop over k of a tile, where the chip has one that is better than a compiler's.

        It takes where the first pixel's first element and the first weight lie, then where each
        sum does, those of a pixel side by side.
        """
        del tile
        return None


@dataclass(frozen=True, kw_only=True)
class RequantizeUnit(ABC):
    """Sums that become codes by integers, where that is less work than by floats."""

    adds: ClassVar[bool] = False  # whether sums of codes are less work so, too

    @abstractmethod
    def codes(self, acc: Expr, factor: Expr, start: Expr, shift: int, lanes: int) -> Expr:
        """Return (start + ⌊acc · factor / 2³²⌋) >> shift, saturated to int8 × lanes.

        Args:
            acc, factor: int32 × lanes.
            start: int32, a scalar.
        """

    def sum_codes(
        self, steps: tuple[Expr, Expr], factors: tuple[Expr, Expr], start: Expr, shift: int
    ) -> Expr:
        """Return (start + ⌊a · f / 2⁹⌋ + ⌊b · g / 2⁹⌋) >> shift, saturated to int8.

        Args:
            steps: a and b, int32 of 9 bits.
            factors: f and g, int32, not negative.
        """
        raise NotImplementedError
