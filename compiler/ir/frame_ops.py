"""Operations on the bytes of camera frames: colors and sizes, whatever quantization comes later."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from edgekiln.compiler.ir.moves import described, wrong_shape
from edgekiln.compiler.ir.node import Op
from edgekiln.compiler.ir.tensor import Tensor
from edgekiln.compiler.onnx_model.ends.resampling import Resampling
from edgekiln.compiler.onnx_model.ends.yuv import YuvFrame


@dataclass(frozen=True, kw_only=True, eq=False)
class Resample(Op):
    """Bilinear resizing along an axis of (N, rows, columns, channels), as Pillow has it."""

    KIND: ClassVar[str] = "resample"
    on_rows: ClassVar[bool] = True
    takes_bytes: ClassVar[bool] = True

    axis: int
    by: Resampling

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        after, taps = self.by.weights.shape
        if int(self.by.starts.max()) + taps > x.shape[self.axis]:
            return f"taps reach over the end of {described(x)}"
        return wrong_shape(y, (*x.shape[: self.axis], after, *x.shape[self.axis + 1 :]))


@dataclass(frozen=True, kw_only=True, eq=False)
class YuvToPixels(Op):
    """A frame in YUV, (N, rows, bytes), becomes pixels in RGB or gray, (N, H, W, channels)."""

    KIND: ClassVar[str] = "yuv"
    on_rows: ClassVar[bool] = True
    takes_bytes: ClassVar[bool] = True

    frame: YuvFrame
    channels: int

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        batch = x.shape[0]
        size = (self.frame.height, self.frame.width)
        return wrong_shape(x, (batch, *self.frame.shape)) or wrong_shape(
            y, (batch, *size, self.channels)
        )
