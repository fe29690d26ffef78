"""Operations that move values, and at most requantize them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from edgekiln.compiler.ir.codes import Fill, IntFinish
from edgekiln.compiler.ir.node import Op
from edgekiln.compiler.ir.tensor import Tensor

INDICES = ("int32", "int64")  # types that number rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantize(Op):
    """The same values by the result's quantization, in its type, with its border."""

    KIND: ClassVar[str] = "requantize"
    spreads_layout: ClassVar[bool] = True

    finish: IntFinish | None = None  # None: nothing is clipped

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        return unequal(*xs, *ys)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Op):
    """The same values in the same ONNX order."""

    KIND: ClassVar[str] = "reshape"
    permutes: ClassVar[bool] = True

    in_memory: bool = False  # the bytes stay where they are: the reader knows their order

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        if self.in_memory and x.halo:
            return f"the border of {described(x)} lies between its values"
        same = x.elements == y.elements and (x.dtype, x.quant) == (y.dtype, y.quant)
        return "" if same or _same_bytes(x, y) else f"{described(x)} is not {described(y)}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Transpose(Op):
    """Axis i of the result is axis perm[i] of the operand."""

    KIND: ClassVar[str] = "transpose"
    permutes: ClassVar[bool] = True

    perm: tuple[int, ...]

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        if sorted(self.perm) != list(range(len(x.shape))):
            return f"perm {self.perm} of rank {len(x.shape)}"
        return moved(x, y) or wrong_shape(y, tuple(x.shape[axis] for axis in self.perm))


@dataclass(frozen=True, kw_only=True, eq=False)
class Pad(Op):
    """`before` and `after` each axis, so many values more."""

    KIND: ClassVar[str] = "pad"
    spreads_layout: ClassVar[bool] = True

    before: tuple[int, ...]
    after: tuple[int, ...]
    fill: Fill

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        sizes = zip(self.before, x.shape, self.after, strict=True)
        return moved(x, y) or wrong_shape(y, tuple(map(sum, sizes)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice(Op):
    """Takes, from `begin` on, each `steps`-th value of an axis, as many as the result has."""

    KIND: ClassVar[str] = "slice"
    spreads_layout: ClassVar[bool] = True

    begin: tuple[int, ...]
    steps: tuple[int, ...]

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        inside = len(x.shape) == len(y.shape) and all(
            # The last value that is read, not the first one behind it.
            begin + (count - 1) * step < extent
            for begin, count, step, extent in zip(
                self.begin, y.shape, self.steps, x.shape, strict=True
            )
        )
        return moved(x, y) if inside else f"{described(y)} reaches over the end of {described(x)}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Take(Op):
    """The rows along an axis of the first operand that the second one, of integers, numbers."""

    KIND: ClassVar[str] = "take"
    on_rows: ClassVar[bool] = True

    axis: int  # not negative
    last_is_other: bool = False  # what numbers none of the rows before the last one takes that

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x, index), (y,) = xs, ys
        if index.dtype not in INDICES:
            return f"{described(index)} numbers no rows"
        shape = (*x.shape[: self.axis], *index.shape, *x.shape[self.axis + 1 :])
        return moved(x, y) or wrong_shape(y, shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class TakePacked(Op):
    """The rows that the last operand numbers, of a table of two codes a byte, times their scales.

    Operands: (rows, ⌈width / 2⌉) bytes, of which `kernels.take_packed` says the order; (rows,)
    float32; the numbers. The result is float32.
    """

    KIND: ClassVar[str] = "take_packed"
    on_rows: ClassVar[bool] = True
    takes_bytes: ClassVar[bool] = True

    width: int

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (table, scale, index), (y,) = xs, ys
        if index.dtype not in INDICES:
            return f"{described(index)} numbers no rows"
        rows = table.shape[:1]
        if table.shape != (*rows, (self.width + 1) // 2) or scale.shape != rows:
            return f"{described(table)} and {described(scale)} are no rows of {self.width} values"
        if (table.dtype, scale.dtype, y.dtype) != ("uint8", "float32", "float32"):
            return f"{described(y)} is not made of bytes and float32 scales"
        return wrong_shape(y, (*index.shape, self.width))


@dataclass(frozen=True, kw_only=True, eq=False)
class Repeat(Op):
    """Each value several times along each axis."""

    KIND: ClassVar[str] = "repeat"
    spreads_layout: ClassVar[bool] = True

    repeats: tuple[int, ...]

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        sizes = zip(x.shape, self.repeats, strict=True)
        return moved(x, y) or wrong_shape(y, tuple(extent * times for extent, times in sizes))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Blocks(Op):
    """Between an image and a smaller one whose channels are the pixels of its blocks.

    A block's pixel (i, j) of channel c is channel (i·block + j)·C + c, or, where `channels_first`,
    c·block² + i·block + j; C is the larger image's number of channels.
    """

    spreads_layout: ClassVar[bool] = True
    permutes: ClassVar[bool] = True

    block: int
    channels_first: bool

    def misfit(self, small: Tensor, large: Tensor) -> str:
        """How the two images do not belong together; empty if they do."""
        n, c, h, w = large.shape
        high, odd_rows = divmod(h, self.block)
        wide, odd_columns = divmod(w, self.block)
        whole = not odd_rows and not odd_columns
        if whole and small.shape == (n, c * self.block**2, high, wide):
            return ""
        return f"{described(small)} has not the blocks of {self.block} of {described(large)}"


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthToSpace(_Blocks):
    """Each pixel's channels become a block of pixels."""

    KIND: ClassVar[str] = "depth_to_space"

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        return moved(x, y) or self.misfit(x, y)


@dataclass(frozen=True, kw_only=True, eq=False)
class SpaceToDepth(_Blocks):
    """Each block of pixels becomes one pixel's channels."""

    KIND: ClassVar[str] = "space_to_depth"

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (x,), (y,) = xs, ys
        return moved(x, y) or self.misfit(y, x)


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(Op):
    """Its operands side by side; requantized to the result's parameters if there is a `finish`."""

    KIND: ClassVar[str] = "concat"
    spreads_layout: ClassVar[bool] = True

    axis: int  # not negative
    finish: IntFinish | None = None

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (y,) = ys
        first, *_ = xs
        joined = list(first.shape)
        joined[self.axis] = sum(x.shape[self.axis] for x in xs)
        requantized = "" if self.finish else "".join(moved(x, y) for x in xs)
        return requantized or wrong_shape(y, tuple(joined))


@dataclass(frozen=True, kw_only=True, eq=False)
class Interleave(Op):
    """A channel shuffle of G operands: the result's channel i·G + j is channel starts[j] + i of
    operand j.
    """

    KIND: ClassVar[str] = "interleave"
    is_image: ClassVar[bool] = True

    starts: tuple[int, ...]
    finish: IntFinish | None = None

    def fault(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> str:
        (y,) = ys
        if len(xs) != len(self.starts):
            return f"{len(xs)} operands and {len(self.starts)} starts"
        each, odd = divmod(y.shape[1], len(xs))
        inside = all(start + each <= x.shape[1] for start, x in zip(self.starts, xs, strict=True))
        if inside and not odd:
            return "" if self.finish else "".join(moved(x, y) for x in xs)
        return f"{described(y)} needs channels that are not there"


def described(tensor: Tensor) -> str:
    """A tensor in words for people: its name, type and shape."""
    return f"{tensor.name} ({tensor.dtype}{list(tensor.shape)})"


def unequal(*tensors: Tensor) -> str:
    """Which of the tensors has another shape than the first."""
    first, *others = tensors
    for other in others:
        if other.shape != first.shape:
            return f"{described(other)} is not shaped like {described(first)}"
    return ""


def moved(x: Tensor, y: Tensor) -> str:
    """Whether codes that are only moved mean something else at their new place."""
    same = (x.dtype, x.quant) == (y.dtype, y.quant)
    return "" if same else f"{described(y)} is not quantized like {described(x)}"


def wrong_shape(y: Tensor, shape: tuple[int, ...]) -> str:
    """What is wrong about the shape of a result; empty if it is right."""
    return "" if y.shape == shape else f"{described(y)} should have the shape {list(shape)}"


def _same_bytes(x: Tensor, y: Tensor) -> bool:
    """Codes that are read with other parameters."""
    return x.elements == y.elements and x.dtype == y.dtype and None not in (x.quant, y.quant)
