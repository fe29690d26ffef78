"""Image arrays: resizing, grey to colour and back."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.dataset import Split
from edgekiln.models.data.limits import check_pixels
from edgekiln.models.data.options import Options
from edgekiln.runtime.images import CHANNELS
from edgekiln.runtime.inputs import recolor


def shaped(split: Split, options: Options, where: str) -> Split:
    """The split with its images in the size and color asked for; vectors stay as they are.

    Raises:
        InputError: more pixels than are held in memory; the message begins with `where`.
    """
    if split.x.dtype != np.uint8:
        return split
    images: NDArray[np.uint8] = split.x.astype(np.uint8, copy=False)
    if options.size:
        check_pixels(where, len(images), options.size, images.shape[3])
        images = resize(images, *options.size)
    if options.color and CHANNELS[options.color] != images.shape[3]:
        images = recolor(images, options.color).astype(np.uint8, copy=False)
    name = next(iter(split.inputs))
    return replace(split, inputs={**split.inputs, name: images})


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
