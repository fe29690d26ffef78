"""The rows that a product multiplies its weights with, drawn at random from its inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.quantization.walk import Values

if TYPE_CHECKING:
    import onnx

_MOST_BYTES = 96 * 2**20  # of a layer's rows
_MOST_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Samples of a layer's sums: what is multiplied, and what comes out."""

    given: NDArray[np.float32]  # (groups, rows, a row's values)
    wanted: NDArray[np.float32]  # (groups, rows, channels of a group)


@dataclass(frozen=True, kw_only=True)
class _Window:
    """A convolution's attributes, an axis each."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]  # begin…, end…
    groups: int


def patches(
    node: "onnx.NodeProto", shape: Sequence[int], given: Values, wanted: Values, seed: int
) -> Patches | None:
    """Rows of a product's inputs and the outputs that belong to them.

    Args:
        node: a Conv of any rank, a Gemm without factors, or a MatMul by a matrix.
        shape: of its weights.
        given: what it reads, an array a call.
        wanted: what it is to give, an array a call.
        seed: of the draw.

    Returns:
        None for a convolution whose padding depends on the size of its input.
    """
    rng = np.random.default_rng(seed)
    if node.op_type != "Conv":
        x = np.concatenate([array.reshape(-1, array.shape[-1]) for array in given])
        y = np.concatenate([array.reshape(-1, array.shape[-1]) for array in wanted])
        rows = _drawn(rng, len(x), _count(x.shape[1]))
        return Patches(given=_float(x[rows][None]), wanted=_float(y[rows][None]))
    window = _window(node, shape)
    if window is None:
        return None
    return _of_images(window, given, wanted, rng)


def _of_images(window: _Window, given: Values, wanted: Values, rng: np.random.Generator) -> Patches:
    rank = len(window.kernel)
    channels, outs = given[0].shape[1], wanted[0].shape[1]
    row = channels * int(np.prod(window.kernel))
    each = -(-_count(row) // len(given))  # of a call
    xs, ys = [], []
    # Of each tap of the kernel its distance from the window's first pixel, by axis.
    taps = np.meshgrid(
        *(np.arange(k) * d for k, d in zip(window.kernel, window.dilations, strict=True)),
        indexing="ij",
    )
    for x, y in zip(given, wanted, strict=True):
        # Zero is what an integer convolution pads with, too: the zero point's real number.
        around = [(0, 0), (0, 0), *((window.pads[a], window.pads[a + rank]) for a in range(rank))]
        padded = np.pad(x, around)
        places = (len(y), *y.shape[2:])
        chosen = np.unravel_index(_drawn(rng, int(np.prod(places)), each), places)
        sample, pixels = chosen[0], chosen[1:]
        at = tuple(
            (pixel * stride)[:, None] + tap.reshape(-1)[None]
            for pixel, stride, tap in zip(pixels, window.strides, taps, strict=True)
        )
        # (rows, taps, channels): the axis that is taken whole comes last.
        found = np.moveaxis(padded, 1, -1)[(sample[:, None], *at)]
        xs.append(found.transpose(0, 2, 1))
        ys.append(np.moveaxis(y, 1, -1)[(sample, *pixels)])
    x, y = np.concatenate(xs), np.concatenate(ys)
    groups = window.groups
    by_group = x.reshape(len(x), groups, -1).transpose(1, 0, 2)
    results = y.reshape(len(y), groups, outs // groups).transpose(1, 0, 2)
    return Patches(given=_float(by_group), wanted=_float(results))


def _window(node: "onnx.NodeProto", shape: Sequence[int]) -> _Window | None:
    import onnx

    said = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    if said.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return None
    kernel = tuple(shape[2:])
    ones = (1,) * len(kernel)
    return _Window(
        kernel=kernel,
        strides=tuple(said.get("strides", ones)),
        dilations=tuple(said.get("dilations", ones)),
        pads=tuple(said.get("pads", (0,) * (2 * len(kernel)))),
        groups=int(said.get("group", 1)),
    )


def _count(row: int) -> int:
    """How many rows of so many values are drawn."""
    return max(1, min(_MOST_ROWS, _MOST_BYTES // (4 * row)))


def _drawn(rng: np.random.Generator, of: int, count: int) -> NDArray[np.int64]:
    return np.sort(rng.permutation(of)[:count])


def _float(array: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, dtype=np.float32)
