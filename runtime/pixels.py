"""Images of any depth as 8 bits a channel."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

# TIFF 6.0, section 8: tags, and their values that matter here.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _UNSIGNED = 0, 1


def upright_8_bit(image: "Image", path: Path) -> "Image":
    """`image` turned as its EXIF says, with 8 bits a channel.

    Pillow's own `convert` clamps wider pixels to 0…255. Here white stays white: integers of b bits
    are multiplied by 255 / (2^b − 1) and rounded, floats from 0 to 1 by 255. Of 16-bit colors
    Pillow itself takes the high byte when it opens them.

    Args:
        image: as opened; modes of 8 bits or less are only turned.
        path: where it comes from, for messages.

    Raises:
        InputError: floats outside 0…1, negative integers, or integers of unknown range.
    """
    from PIL import Image, ImageOps

    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    upright = ImageOps.exif_transpose(image)
    share: NDArray[np.floating]
    if image.mode == "F":
        share = _share_of_floats(np.asarray(upright), path)
    elif image.mode == "I" or image.mode.startswith("I;"):
        values, white = _integers(np.asarray(upright), tags, image, path)
        share = values / white
    else:
        return upright
    # Pillow inverts these for 8 bits, not for more.
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        share = 1 - share
    return Image.fromarray(np.rint(share * 255).astype(np.uint8))


def _share_of_floats(values: "NDArray[np.float32]", path: Path) -> "NDArray[np.float32]":
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise InputError(
            f"{path}: float pixels from {low:g} to {high:g}, expected 0 (black) to 1 (white)",
            hint="scale them, or save the image with 8 or 16 bits",
        )
    return values


def _integers(
    values: "NDArray[np.integer]", tags: dict[int, object], image: "Image", path: Path
) -> "tuple[NDArray[np.integer], int]":
    """The pixels, none below 0, and the number that is white."""
    if not tags:
        if image.mode == "I" and image.format not in ("PNG", "PPM"):
            raise InputError(
                f"{path}: 32-bit pixels whose range {image.format} does not tell",
                hint="save it as PNG or TIFF",
            )
        return values, 2**16 - 1
    bits = _first(tags.get(_BITS_PER_SAMPLE), 16)
    if _first(tags.get(_SAMPLE_FORMAT), _UNSIGNED) == _UNSIGNED:
        # Pillow reads 32 bits as signed.
        unsigned = values.view(np.uint32) if values.dtype == np.int32 else values
        return unsigned, 2**bits - 1
    if (low := int(values.min())) < 0:
        raise InputError(
            f"{path}: a pixel is {low}, expected 0 (black) or more",
            hint="save the image with unsigned pixels",
        )
    return values, 2 ** (bits - 1) - 1


def _first(value: object, default: int) -> int:
    """The first number of a TIFF tag, which holds one number or one a channel."""
    number = value[0] if isinstance(value, tuple) and value else value
    return number if isinstance(number, int) else default
