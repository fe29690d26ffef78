"""Attributes that convolutions and pools share."""

from collections.abc import Sequence

from edgekiln.compiler.ir.graph import Node


def strides_and_dilations(node: Node, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    ones = [1] * rank
    return tuple(node.attrs.get("strides", ones)), tuple(node.attrs.get("dilations", ones))


def pads(
    node: Node, size: Sequence[int], out: Sequence[int], kernel: Sequence[int]
) -> tuple[int, ...]:
    """(begin…, end…) per axis, `auto_pad` resolved as the ONNX operator specification says."""
    auto = node.attrs.get("auto_pad", b"NOTSET")
    mode = auto.decode() if isinstance(auto, bytes) else auto
    if mode in ("NOTSET", "VALID"):
        explicit = node.attrs.get("pads") if mode == "NOTSET" else None
        return tuple(explicit or [0] * (2 * len(kernel)))
    strides, dilations = strides_and_dilations(node, len(kernel))
    begin, end = [], []
    for extent, outs, k, s, d in zip(size, out, kernel, strides, dilations, strict=True):
        total = max(0, (outs - 1) * s + (k - 1) * d + 1 - extent)
        small, large = total // 2, total - total // 2
        begin.append(small if mode == "SAME_UPPER" else large)
        end.append(large if mode == "SAME_UPPER" else small)
    return (*begin, *end)
