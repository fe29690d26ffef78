"""Attributes that convolutions and pools share."""

from collections.abc import Sequence

from edgekiln.compiler.ir.onnx_op import Onnx


def strides_and_dilations(op: Onnx, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Both, an axis each; ONNX's defaults are ones."""
    ones = (1,) * rank
    return op.integers("strides") or ones, op.integers("dilations") or ones


def pads(
    op: Onnx, size: Sequence[int], out: Sequence[int], kernel: Sequence[int]
) -> tuple[int, ...]:
    """(begin…, end…) per axis, `auto_pad` resolved as the ONNX operator specification says."""
    mode = op.text("auto_pad", "NOTSET")
    if mode in ("NOTSET", "VALID"):
        explicit = op.integers("pads") if mode == "NOTSET" else None
        return explicit or (0,) * (2 * len(kernel))
    strides, dilations = strides_and_dilations(op, len(kernel))
    begin, end = [], []
    for extent, outs, k, s, d in zip(size, out, kernel, strides, dilations, strict=True):
        # What the windows need beyond the image; an odd pixel goes to the end for SAME_UPPER.
        total = max(0, (outs - 1) * s + (k - 1) * d + 1 - extent)
        small, large = total // 2, total - total // 2
        begin.append(small if mode == "SAME_UPPER" else large)
        end.append(large if mode == "SAME_UPPER" else small)
    return (*begin, *end)


def pair(values: Sequence[int]) -> tuple[int, int]:
    """One number for rows and one for columns; a row of pixels alone is an image of one row."""
    row, column = values if len(values) == 2 else (1, *values)
    return row, column


def four(padding: Sequence[int]) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of ONNX's pads over two axes or one."""
    top, left, bottom, right = padding if len(padding) == 4 else (0, padding[0], 0, padding[1])
    return top, left, bottom, right
