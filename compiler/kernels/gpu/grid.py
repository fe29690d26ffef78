"""Which thread of a GPU has which elements of an image, its border included."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.tir import divmod_, let, loop, store, unravel, when
from edgekiln.targets.isa.expressions import Buffer, Expr, Index, splat

WIDE = 4  # channels of a thread, where they come in fours


@dataclass(frozen=True)
class Place:
    """Some channels of a pixel: `lanes` side by side from `c` on."""

    n: Expr
    h: Expr
    w: Expr
    c: Expr
    lanes: int


def channels_of_a_thread(*tensors: Nhwc) -> int:
    """How many channels side by side a thread takes: several, if they begin at whole vectors in all
    tensors that it reads and writes.
    """
    return WIDE if all(t.c % WIDE == t.pixel % WIDE == 0 for t in tensors) else 1


def each_place(
    k: KernelBuilder, y: Nhwc, zero: Callable[[], Expr], out: Buffer, body: Callable[[Place], None],
    others: Sequence[Nhwc] = (),
) -> None:  # fmt: skip
    """Run `body` for every place of `y`, each in a thread of its own, and fill the border.

    Args:
        others: tensors of which the same channels are read.
        zero: the zero point, one element of `out`'s type.
        out: the memory of `y`.
    """
    lanes = channels_of_a_thread(y, *others)
    rows, columns = y.halo.top + y.h + y.halo.bottom, y.halo.left + y.w + y.halo.right
    thread = k.threads(y.n * rows * columns * (y.c // lanes))
    n, row, column, vector = unravel((y.n, rows, columns, y.c // lanes), thread)
    h, w, c = let(row - y.halo.top), let(column - y.halo.left), let(vector * lanes)
    place = Place(n, h, w, c, lanes)
    if not y.halo:
        body(place)
        return
    # A border's threads take the other way: they are few.
    with when(is_inside(y, h, w)):
        body(place)
    with when(is_outside(y, h, w)):
        store(out, y.index(n, h, w, c), splat(zero(), lanes), lanes)


def is_inside(y: Nhwc, h: Expr, w: Expr) -> Expr:
    """Whether a pixel is one of the image's own."""
    from tvm import tirx

    inside: Expr = tirx.all(h >= 0, h < y.h, w >= 0, w < y.w)
    return inside


def is_outside(y: Nhwc, h: Expr, w: Expr) -> Expr:
    """Whether a pixel is of the border."""
    from tvm import tirx

    outside: Expr = tirx.any(h < 0, h >= y.h, w < 0, w >= y.w)
    return outside


def fill_border(y: Nhwc, zero: Callable[[], Expr], out: Buffer, thread: Expr, threads: int) -> None:
    """Let threads that have other work fill the border, each as much of it as any other.

    Args:
        thread, threads: the number of this one, and how many there are.
    """
    pixels = y.n * border_pixels(y)
    if not pixels:
        return
    rounds = -(-pixels // threads)
    with loop(0, rounds) as turn:
        number = let(turn * threads + thread)
        with when(number < pixels):
            first = let(_border_pixel(y, number) * y.pixel)
            with loop(0, y.c) as c:
                store(out, first + c, zero())


def border_pixels(y: Nhwc) -> int:
    """How many pixels the border of an image has."""
    return y.image // y.pixel - y.h * y.w


def _border_pixel(y: Nhwc, number: Expr) -> Index:
    """Where in memory the border's `number`th pixel lies, in pixels: first those of whole rows,
    then those beside the image's own rows.
    """
    from edgekiln.targets.isa.expressions import const, select

    halo, columns = y.halo, y.row // y.pixel
    n, place = divmod_(number, border_pixels(y))
    above, sides = halo.top * columns, halo.left + halo.right
    full = above + halo.bottom * columns
    # Below the image's own rows lie those of the bottom.
    of_rows = select(place < above, place, place + y.h * columns)
    if not sides:
        return n * (y.image // y.pixel) + of_rows
    row, column = divmod_(place - full, sides)
    beside = (row + halo.top) * columns + select(column < halo.left, column, column + y.w)
    at = beside if not full else select(place < const(full), of_rows, beside)
    return n * (y.image // y.pixel) + at
