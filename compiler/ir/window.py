"""Windows that slide over images: of convolutions and pools."""

from dataclasses import dataclass

from edgekiln.compiler.ir.memory import Halo
from edgekiln.compiler.ir.moves import described
from edgekiln.compiler.ir.tensor import Tensor


@dataclass(frozen=True, kw_only=True)
class Window:
    """What slides over an image: rows first, columns second."""

    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right

    def __str__(self) -> str:
        words = ["×".join(map(str, self.kernel))]
        for word, numbers in (
            ("by", self.strides),
            ("dilated", self.dilations),
            ("pads", self.pads),
        ):
            if set(numbers) != ({0} if word == "pads" else {1}):
                words.append(f"{word} {','.join(map(str, numbers))}")
        return " ".join(words)

    def reach(self, x: Tensor, y: Tensor) -> Halo:
        """How far the windows reach over the image: less than the pads where a stride skips their
        end, more where `ceil_mode` adds a window.
        """
        top, left, _, _ = self.pads
        over = [
            (out - 1) * stride + (taps - 1) * dilation + 1 - before - extent
            for extent, out, taps, stride, dilation, before in zip(
                x.shape[2:], y.shape[2:], self.kernel, self.strides, self.dilations, (top, left),
                strict=True,
            )
        ]  # fmt: skip
        return Halo(top=top, left=left, bottom=max(0, over[0]), right=max(0, over[1]))

    def fault(self, x: Tensor, y: Tensor) -> str:
        """Whether the result has as many windows as fit; with `ceil_mode`, one more."""
        if len(x.shape) != 4 or len(y.shape) != 4 or x.shape[0] != y.shape[0]:
            return f"{described(x)} and {described(y)} are not as many images"
        for axis in (0, 1):
            padded = x.shape[2 + axis] + self.pads[axis] + self.pads[axis + 2]
            taps = (self.kernel[axis] - 1) * self.dilations[axis] + 1
            last = (padded - taps) // self.strides[axis] + 1
            if not last <= y.shape[2 + axis] <= last + 1:
                return f"{last} windows fit on axis {2 + axis} of {described(x)}: {described(y)}"
        return ""
