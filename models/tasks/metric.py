"""What a number that judges a model is called, how it is shown, and which way is better."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower"]

_DIGITS = 9  # of what is lost: of 98.5 % and 98 % floats differ by a little more than half a point


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A measure of how good a model is.

    Args:
        name: what tables, gates and reports call it.
        unit: stands behind the number; "%": a share, shown in percent.
        share: whether it lies between 0 and 1, so that a loss is counted in percentage points. Of
            any other number it is counted in percent of what it was.
        of_all: whether it is the whole split's alone: what is ranked among others looks better
            among fewer of them.
    """

    name: str
    unit: str = ""
    better: Better = "higher"
    share: bool = False
    of_all: bool = False

    @property
    def heading(self) -> str:
        """The name for a table's column: unit, and which way is better."""
        unit = f", {self.unit}" if self.unit not in ("", "%") else ""
        return f"{self.name}{unit} {'↑' if self.better == 'higher' else '↓'}"

    def shown(self, value: float) -> str:
        """The number with its unit."""
        if self.unit == "%":
            return f"{value:.2%}"
        text = f"{value:.4f}" if self.share else _four_digits(value)
        return f"{text} {self.unit}".rstrip()

    def lost(self, before: float, after: float) -> float:
        """How much worse `after` is: percentage points of a share, else percent of `before`. Below
        0 it is better.
        """
        worse = before - after if self.better == "higher" else after - before
        if self.share:
            return round(100 * worse, _DIGITS)
        # There is no percent of 0: any change is beyond all bounds.
        if before == 0:
            return 0.0 if worse == 0 else float("inf") if worse > 0 else float("-inf")
        return round(100 * worse / abs(before), _DIGITS)

    @property
    def loss_unit(self) -> str:
        """What `lost` counts in."""
        return "points" if self.share else "%"


def _four_digits(value: float) -> str:
    """Four significant digits, none of them as a power of ten where people read numbers."""
    return f"{value:,.1f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}"


ACCURACY = Metric(name="accuracy", unit="%", share=True)
AUC = Metric(name="auc", share=True)
