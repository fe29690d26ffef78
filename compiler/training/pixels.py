"""Bytes of images as numbers of a network, in torch: the same bits as `preprocess` gives."""

from typing import TYPE_CHECKING

from edgekiln.runtime.images import CHANNELS

if TYPE_CHECKING:
    from torch import Tensor

    from edgekiln.runtime.manifest import Preprocessing


def can_normalize(images: "Tensor", preprocessing: "Preprocessing") -> bool:
    """Whether `normalized` takes these images: uint8 (N, H, W, C) whose colors stay as they are."""
    import torch

    channels = images.shape[-1]
    return (
        images.dtype == torch.uint8
        and images.ndim == 4
        and CHANNELS.get(preprocessing.color) == channels
        and preprocessing.layout in ("NCHW", "NHWC")
        and {len(preprocessing.mean), len(preprocessing.std)} <= {1, channels}
    )


def normalized(
    images: "Tensor", preprocessing: "Preprocessing", *, channels_last: bool = False
) -> "Tensor":
    """(pixel · scale − mean) / std of each channel, float32, (N, C, H, W) or (N, H, W, C).

    Args:
        channels_last: leave the bytes of (N, C, H, W) in the order of the images, which torch
            calls `torch.channels_last`; its convolutions are faster on that.
    """
    import torch

    n, height, width, channels = images.shape

    def tiled(values: tuple[float, ...]) -> "Tensor":
        each = values if len(values) == channels else values * channels
        return torch.tensor(each, dtype=torch.float32).repeat(width)

    # Row by row: numbers of three channels alone would fill no vector register.
    rows = images.reshape(n * height, width * channels).float()
    rows.mul_(preprocessing.scale).sub_(tiled(preprocessing.mean)).div_(tiled(preprocessing.std))
    found = rows.reshape(n, height, width, channels)
    if preprocessing.layout == "NHWC":
        return found
    planes = found.permute(0, 3, 1, 2)
    return planes if channels_last else planes.contiguous()


def mean_pixel(images: "Tensor", preprocessing: "Preprocessing | None") -> "Tensor":
    """The pixel, uint8 (C,) or a scalar, whose numbers are nearest to 0; black where that is no
    pixel.
    """
    import torch

    if preprocessing is None or not can_normalize(images, preprocessing):
        return torch.tensor(0, dtype=torch.uint8)
    means = torch.tensor(preprocessing.mean) / preprocessing.scale
    return means.round().clamp(0, 255).to(torch.uint8)


def resized(images: "Tensor", side: int) -> "Tensor":
    """Images uint8 (N, H, W, C) as (N, side, side, C), by antialiased bilinear interpolation."""
    from torch.nn import functional as F

    planes = F.interpolate(
        images.permute(0, 3, 1, 2), (side, side), mode="bilinear", antialias=True
    )
    return planes.permute(0, 2, 3, 1).contiguous()
