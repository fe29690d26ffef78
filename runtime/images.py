"""Image files as pixels of eight bits, whatever their own depth."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.runtime.errors import InputError, MissingToolError
from edgekiln.runtime.limits import INPUTS, read_file
from edgekiln.runtime.pixels import upright_8_bit

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
)
CHANNELS = {"L": 1, "RGB": 3}
_DEEP = ("I", "F")  # Pillow's modes of more than eight bits; they are scaled in float64
IMAGE_HINT = "is the path right, and the file a complete image?"


def read_image(path: Path, height: int, width: int, color: str) -> "NDArray[np.uint8]":
    """An image file as (height, width, C) uint8: upright as its EXIF says, resized bilinearly.

    Images of other depths are brought to eight bits first, see `upright_8_bit`.

    Raises:
        InputError: the file is not an image, damaged, or larger than allowed.
        MissingToolError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingToolError(
            f"{path}: reading images needs Pillow", hint="pip install 'pillow>=10'"
        ) from error
    from io import BytesIO

    raw = read_file(path, INPUTS, IMAGE_HINT)
    try:
        with Image.open(BytesIO(raw)) as image:
            # Header alone so far: nothing is decoded before it is known how much it will be.
            deep = image.mode.startswith(_DEEP)
            INPUTS.check(image.width * image.height * (32 if deep else 8), str(path))
            upright = upright_8_bit(image, path).convert(color)
            if upright.size != (width, height):
                upright = upright.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(upright, dtype=np.uint8)
    except InputError:
        raise
    # Pillow's decoders raise whatever the damaged bytes lead them to, SyntaxError among it.
    except Exception as error:
        raise unreadable_image(path, error) from error
    return pixels.reshape(height, width, CHANNELS[color])


def unreadable_image(path: Path, error: Exception) -> InputError:
    """What Pillow says of a file, in words: it may name the stream that it was given."""
    from PIL import UnidentifiedImageError

    unknown = isinstance(error, UnidentifiedImageError)
    reason = "of no format that is known" if unknown else str(error) or type(error).__name__
    return InputError(f"{path}: cannot read this image: {reason}", hint=IMAGE_HINT)
