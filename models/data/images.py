"""Image arrays: resizing, cropping, grey to colour and back; masks go with their pictures."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.data.dataset import Split
from edgekiln.models.data.limits import check_pixels
from edgekiln.models.data.option_kinds import check_pictures
from edgekiln.models.data.options import Options
from edgekiln.models.tasks.detection import ObjectDetection
from edgekiln.models.tasks.heads import Head
from edgekiln.models.tasks.segmentation import Segmentation
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.images import CHANNELS
from edgekiln.runtime.inputs import recolor


def shaped(split: Split, options: Options, where: str, heads: tuple[Head, ...] = ()) -> Split:
    """The split with its images in the size and color asked for, and masks in the images' size;
    vectors stay as they are.

    Raises:
        ConfigError: the middle is to be cut out of pictures whose boxes would not fit any more; or
            options of pictures are given and the samples are none.
        InputError: more pixels than are held in memory; the message begins with `where`.
    """
    if split.x.dtype != np.uint8 or split.x.ndim != 4:
        check_pictures(where, options)
        return split
    if options.crop and any(isinstance(head.task, ObjectDetection) for head in heads):
        raise ConfigError(f"{where}: crop would cut boxes", hint="resize instead: ?size=96")
    images = as_asked(split.x.astype(np.uint8, copy=False), options, where)
    targets = dict(split.targets)
    for head in heads:
        if isinstance(head.task, Segmentation):
            masks = targets[head.name].astype(np.uint8)
            masks = nearest(masks, *options.size) if options.size else masks
            targets[head.name] = middle(where, masks, options.crop) if options.crop else masks
    first = next(iter(split.inputs))
    return replace(split, inputs={**split.inputs, first: images}, targets=targets)


def as_asked(images: NDArray[np.uint8], options: Options, where: str) -> NDArray[np.uint8]:
    """(N, H, W, C) in the size, the middle and the color that options ask for.

    Raises:
        ConfigError, InputError: as `shaped`.
    """
    if options.size:
        check_pixels(where, len(images), options.size, images.shape[3])
        images = resize(images, *options.size)
    if options.crop:
        images = middle(where, images, options.crop)
    if options.color and CHANNELS[options.color] != images.shape[3]:
        images = recolor(images, options.color).astype(np.uint8, copy=False)
    return images


def resize(images: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """(N, H, W, C) → (N, height, width, C), bilinear, the aspect ratio not kept."""
    from PIL import Image

    if images.shape[1:3] == (height, width):
        return images
    channels = images.shape[3]
    out = np.empty((len(images), height, width, channels), np.uint8)
    for source, target in zip(images, out, strict=True):
        pixels = source[..., 0] if channels == 1 else source
        # Pillow has the width first, and no channel axis for grey.
        small = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        target[...] = np.asarray(small).reshape(height, width, channels)
    return out


def nearest(masks: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """(N, H, W) class indices → (N, height, width): of each new pixel the one at its middle."""
    rows = (np.arange(height) * 2 + 1) * masks.shape[1] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * masks.shape[2] // (2 * width)
    return masks[:, rows[:, None], columns]


def middle(where: str, images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(N, H, W, …) → (N, *size, …): what lies in the middle. Raises ConfigError: nothing does."""
    height, width = images.shape[1:3]
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    if min(top, left) < 0:
        raise ConfigError(
            f"{where}: images of {height}×{width} have no middle of {size[0]}×{size[1]}",
            hint="crop to less, or resize first: ?size=128&crop=96",
        )
    return images[:, top : top + size[0], left : left + size[1]]
