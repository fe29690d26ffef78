"""How results become codes, and codes floats: what a kernel and a MicroKernel tell each other."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from edgekiln.targets.isa.base import Expr


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The codes that a result may have: scalars, which the generated code reads from memory."""

    zero: "Expr"  # int32: the code of zero
    low: "Expr"  # int32 codes
    high: "Expr"
    low_steps: "Expr"  # float32: low - zero and high - zero
    high_steps: "Expr"
    bounded: bool  # no value before clipping reaches 2³¹
    rectified: bool = False  # low and zero are 0, the lowest code
    saturating: bool = False  # low and high are the lowest and the highest code of their type


class Floats(NamedTuple):
    """Codes in float32, exactly; but for a constant, where that makes them cheaper."""

    value: "Expr"
    excess: int = 0  # of `value` over the codes
    order: "Sequence[int] | None" = None  # which of the codes each lane has; None: its own


@dataclass(frozen=True)
class Divisor:
    """What many numbers are divided by: float32 scalars, which the generated code reads.

    The reciprocal is a sum of two: a product with it is the quotient but for 2⁻⁴⁶ of it, before it
    is rounded.
    """

    value: "Expr"
    reciprocal: "Expr"
    rest: "Expr"
    most: "Expr"  # larger dividends saturate any code

    @staticmethod
    def numbers(value: float) -> "tuple[np.float32, ...]":
        """The fields, of a positive value."""
        import numpy as np

        divisor = np.float32(value)
        exact = 1 / np.float64(divisor)
        reciprocal = np.float32(exact)
        rest = np.float32(exact - np.float64(reciprocal))
        return divisor, reciprocal, rest, divisor * np.float32(2**20)
