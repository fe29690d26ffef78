"""Image arrays: resizing, grey to colour and back. Pillow does the work."""

import numpy as np
from numpy.typing import NDArray

# BT.601 luma, the weights behind Pillow's own RGB → L.
_LUMA = np.array([0.299, 0.587, 0.114])


def resize(images: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """(N, H, W, C) → (N, height, width, C), bilinear, the aspect ratio not kept."""
    from PIL import Image

    if images.shape[1:3] == (height, width):
        return images
    channels = images.shape[3]
    out = np.empty((len(images), height, width, channels), np.uint8)
    for source, target in zip(images, out, strict=True):
        pixels = source[..., 0] if channels == 1 else source
        small = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        target[...] = np.asarray(small).reshape(height, width, channels)
    return out


def to_color(images: NDArray[np.uint8], color: str) -> NDArray[np.uint8]:
    """(N, H, W, 1|3) → (N, H, W, 1) for "L", (N, H, W, 3) for "RGB"."""
    if color == "RGB":
        return np.repeat(images, 3, axis=3) if images.shape[3] == 1 else images
    if images.shape[3] == 1:
        return images
    return np.rint(images @ _LUMA)[..., None].astype(np.uint8)
