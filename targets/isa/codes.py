"""How results become codes and codes become floats: what kernels and micro-kernels tell each other.

A code is the integer that stands for a real value: (code - zero point) · scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from edgekiln.targets.isa.expressions import Expr

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The codes that a result may have: scalars, which the generated code reads from memory.

    Args:
        zero: int32, the code of zero.
        low, high: int32, the lowest and the highest code.
        low_steps, high_steps: float32, low - zero and high - zero.
        bounded: no value before clipping reaches 2³¹.
        rectified: `low` and `zero` are 0, the lowest code.
        saturating: `low` and `high` are the lowest and the highest code of their type.
    """

    zero: Expr
    low: Expr
    high: Expr
    low_steps: Expr
    high_steps: Expr
    bounded: bool
    rectified: bool = False
    saturating: bool = False


class Floats(NamedTuple):
    """Codes in float32, exactly, or larger by a constant where that makes them cheaper.

    Args:
        excess: by how much `value` is larger than the codes.
        order: which of the codes each lane has; None means its own.
    """

    value: Expr
    excess: int = 0
    order: Sequence[int] | None = None


@dataclass(frozen=True)
class Divisor:
    """What many numbers are divided by: float32 scalars, which the generated code reads.

    The reciprocal is the sum of `reciprocal` and `rest`: a product with it, before it is rounded,
    is the quotient but for 2⁻⁴⁶ of it. Dividends beyond `most` saturate any code.
    """

    value: Expr
    reciprocal: Expr
    rest: Expr
    most: Expr

    @staticmethod
    def numbers(value: float) -> "tuple[np.float32, ...]":
        """Return the fields of a positive value, in their order."""
        import numpy as np

        divisor = np.float32(value)
        exact = 1 / np.float64(divisor)
        reciprocal = np.float32(exact)
        rest = np.float32(exact - np.float64(reciprocal))
        return divisor, reciprocal, rest, divisor * np.float32(2**20)
