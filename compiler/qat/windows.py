"""What slides over images: its padding, as torch takes it."""

from typing import TYPE_CHECKING

from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from edgekiln.compiler.qat.node import QatNode


def padded(
    node: "QatNode", x: "Tensor", kernel: tuple[int, ...], border: float
) -> "tuple[Tensor, list[int]]":
    """An image and the padding that is left for torch to do: the same on both sides, with zeros.

    Args:
        x: (N, C, …).
        kernel: extents of the window.
        border: what lies outside of the image.
    """
    before, after = pads_of(node, tuple(x.shape[2:]), kernel)
    if border == 0.0 and before == after:
        return x, before
    if any(before + after):
        x = F.pad(x, torch_pads(before, after), value=border)
    return x, [0] * len(kernel)


def torch_pads(before: list[int], after: list[int]) -> list[int]:
    """The order of `torch.nn.functional.pad`: from the last axis to the first."""
    pairs = zip(reversed(before), reversed(after), strict=True)
    return [amount for pair in pairs for amount in pair]


def pads_of(
    node: "QatNode", extents: tuple[int, ...], kernel: tuple[int, ...]
) -> tuple[list[int], list[int]]:
    """Padding before and behind each axis; what a pool of `ceil_mode` reads beyond included."""
    axes = len(kernel)
    strides, dilations = (node.integers(name, [1] * axes) for name in ("strides", "dilations"))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    auto = node.attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        # As many results as steps fit into the image.
        missing = [
            max(0, (-(-n // s) - 1) * s + r - n)
            for n, s, r in zip(extents, strides, reach, strict=True)
        ]
        less = [each // 2 for each in missing]
        more = [each - half for each, half in zip(missing, less, strict=True)]
        return (less, more) if auto == "SAME_UPPER" else (more, less)
    pads = [0] * (2 * axes) if auto == "VALID" else node.integers("pads", [0] * (2 * axes))
    before, after = pads[:axes], pads[axes:]
    if node.attributes.get("ceil_mode", 0):
        for axis, (n, s, r) in enumerate(zip(extents, strides, reach, strict=True)):
            room = n + before[axis] + after[axis] - r
            count = -(-room // s) + 1
            # A window that would begin behind the image and its first padding is left out.
            if (count - 1) * s >= n + before[axis]:
                count -= 1
            after[axis] = max(after[axis], (count - 1) * s + r - n - before[axis])
    return before, after
