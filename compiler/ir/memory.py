"""How tensors lie in memory, and what kernels may assume of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, overload

from edgekiln.targets.isa.expressions import Index

# TVM ships no types, and nothing here looks into these.
PrimFunc = Any  # tvm.tirx.PrimFunc


@dataclass(frozen=True, kw_only=True)
class Halo:
    """Border of an image in memory, in pixels, filled with the zero point by whoever writes it.

    Zero-point padding thus costs no pass over memory: a padded convolution reads the border, every
    other consumer skips it.
    """

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0

    def __bool__(self) -> bool:
        """Whether there is a border at all."""
        return any((self.top, self.left, self.bottom, self.right))

    def union(self, other: "Halo") -> "Halo":
        """The border that is wide enough for both."""
        return Halo(
            top=max(self.top, other.top),
            left=max(self.left, other.left),
            bottom=max(self.bottom, other.bottom),
            right=max(self.right, other.right),
        )


NO_HALO = Halo()


@dataclass(frozen=True, kw_only=True)
class Nhwc:
    """A tensor as it lies in memory: [n][top+h+bottom][left+w+right][c], no gaps; or channels of a
    wider image, with `pitch` elements from one pixel to the next.

    real = (q - zero_point) * scale; float32 values stand for themselves. A (N, F) matrix is n=N,
    h=1, w=1, c=F; a (N, T, F) sequence is n=N, h=1, w=T, c=F.
    """

    n: int
    h: int
    w: int
    c: int
    dtype: str  # "uint8", "int8" or "float32"; of sums "int32"
    scale: float = 1.0  # exactly representable in float32
    zero_point: int = 0
    halo: Halo = NO_HALO
    pitch: int = 0  # 0: c

    # An image; its pixel (0, 0) is `index(0, 0, 0, 0)` elements from the start:
    #
    #       left        w         right
    #     +------+--------------+-------+
    #     |              top            |
    #     |      +--------------+       |     from one row to the next: `row`,
    #     |      | (0,0) (0,1) …|       | h   from one pixel to the next: `pixel`,
    #     |      | (1,0) …      |       |     in a pixel its channels, one after the other
    #     |      +--------------+       |
    #     |            bottom           |
    #     +-----------------------------+
    @property
    def pixel(self) -> int:
        """Elements from one pixel to the next."""
        return self.pitch or self.c

    @property
    def unscaled(self) -> "Nhwc":
        """The same memory with numbers that stand for any: of kernels that keep them in memory."""
        return replace(self, scale=1.0, zero_point=0)

    @property
    def row(self) -> int:
        """Elements from one row to the next."""
        return (self.halo.left + self.w + self.halo.right) * self.pixel

    @property
    def image(self) -> int:
        """Elements from one image to the next."""
        return (self.halo.top + self.h + self.halo.bottom) * self.row

    @property
    def elements(self) -> int:
        """All of them, the border included."""
        return self.n * self.image

    @overload
    def index(self, n: int, h: int, w: int, c: int) -> int: ...
    @overload
    def index(self, n: Index, h: Index, w: Index, c: Index) -> Index: ...
    def index(self, n: Index, h: Index, w: Index, c: Index) -> Index:
        """Flat index of an element; numbers or TIR expressions. h and w may reach into the halo."""
        return (
            n * self.image + (h + self.halo.top) * self.row + (w + self.halo.left) * self.pixel + c
        )


@dataclass(frozen=True, kw_only=True)
class Planes:
    """A float32 image as a program's edge holds it, in ONNX's order: its channels are planes."""

    n: int
    h: int
    w: int
    c: int

    @property
    def elements(self) -> int:
        """All of them."""
        return self.n * self.c * self.plane

    @property
    def plane(self) -> int:
        """Elements from one channel to the next."""
        return self.h * self.w

    @overload
    def index(self, n: int, h: int, w: int, c: int) -> int: ...
    @overload
    def index(self, n: Index, h: Index, w: Index, c: Index) -> Index: ...
    def index(self, n: Index, h: Index, w: Index, c: Index) -> Index:
        """Flat index of an element; numbers or TIR expressions."""
        return n * (self.c * self.plane) + h * self.w + w + c * self.plane


# Bytes that a kernel may read (never use) past the end of a tensor or constant, so that the last
# channels can be loaded as whole words. The arena planner and the weights file leave this room.
OVERREAD_BYTES = 64


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How many threads of a GPU run a function: `groups` of `threads` each."""

    groups: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class CFunction:
    """A function that is written in C: in a file of `runtime/c`, for every processor alike."""

    source: str
    symbol: str


@dataclass(frozen=True, kw_only=True)
class Code:
    """A TensorIR function, made when it is asked for: never, if its machine code is cached.

    `signature` is a hash of all that determines the function; equal ones stand for equal functions.
    Empty: only the function itself can tell. `launch` is None where a processor calls it. What is
    `written` in C has no TensorIR.
    """

    emit: Callable[[], PrimFunc]
    signature: str = ""
    launch: Launch | None = None
    written: CFunction | None = None

    @classmethod
    def of(cls, func: PrimFunc) -> "Code":
        """A function that was made already."""
        return cls(emit=lambda: func)

    @classmethod
    def in_c(cls, source: str, symbol: str) -> "Code":
        """A function of a C file."""

        def nothing() -> PrimFunc:
            raise AssertionError(f"{symbol} of {source} has no TensorIR")

        return cls(emit=nothing, written=CFunction(source=source, symbol=symbol))

    @cached_property
    def func(self) -> PrimFunc:
        return self.emit()
