"""Where camera frames keep brightness and color."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

YuvFormat = Literal["nv12", "yuyv"]


@dataclass(frozen=True, kw_only=True)
class YuvFrame:
    """A frame of `height` × `width` pixels, both even.

    "nv12": rows of brightness, then half as many with U V U V …, for 2 × 2 pixels each;
    "yuyv": rows Y U Y V …, for two pixels each.
    """

    format: YuvFormat
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and bytes of a row."""
        if self.format == "nv12":
            return self.height * 3 // 2, self.width
        return self.height, self.width * 2

    @property
    def luma(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows and the columns of the pixels' brightness."""
        columns = np.arange(self.width) * (1 if self.format == "nv12" else 2)
        return np.arange(self.height), columns

    @property
    def chroma(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The rows of the pixels' color, and the columns of its U and V."""
        pair = np.arange(self.width) // 2
        if self.format == "nv12":
            return self.height + np.arange(self.height) // 2, pair * 2, pair * 2 + 1
        return np.arange(self.height), pair * 4 + 1, pair * 4 + 3

    @property
    def operands(self) -> tuple[NDArray[np.int64], ...]:
        """All of these, in the order of the operands of `YuvToRgb`."""
        return (*self.luma, *self.chroma)
