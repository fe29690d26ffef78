"""Image files as pixels of eight bits, whatever their own depth."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekiln.runtime.errors import InputError, MissingToolError
from edgekiln.runtime.limits import INPUTS, read_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
)
CHANNELS = {"L": 1, "RGB": 3}
_SAMPLE_FORMAT = 339  # TIFF's tag; 2: signed
_SIGNED = 2
_DEEP = ("I", "F")  # Pillow's modes of more than eight bits; they are scaled in float64
_HINT = "is it complete?"


def read_image(path: Path, height: int, width: int, color: str) -> "NDArray[np.uint8]":
    """An image file as (height, width, C) uint8: upright as its EXIF says, resized bilinearly.

    Images of other depths are brought to eight bits first, see `_eight_bits`.

    Raises:
        InputError: the file is not an image, damaged, or larger than allowed.
        MissingToolError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MissingToolError(
            f"{path}: reading images needs Pillow", hint="pip install 'pillow>=10'"
        ) from error
    from io import BytesIO

    raw = read_file(path, INPUTS, _HINT)
    try:
        with Image.open(BytesIO(raw)) as image:
            # Header alone so far: nothing is decoded before it is known how much it will be.
            deep = image.mode.startswith(_DEEP)
            INPUTS.check(image.width * image.height * (32 if deep else 8), str(path))
            upright = _eight_bits(ImageOps.exif_transpose(image), image).convert(color)
            if upright.size != (width, height):
                upright = upright.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(upright, dtype=np.uint8)
    except InputError:
        raise
    # Pillow's decoders raise whatever the damaged bytes lead them to, SyntaxError among it.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{path}: cannot read this image: {reason}", hint=_HINT) from error
    return pixels.reshape(height, width, CHANNELS[color])


def _eight_bits(upright: Any, image: Any) -> Any:
    """The image with black as 0 and white as 255; Pillow's own conversion cuts values above 255.

    In sixteen bits white is 65535. Containers of 32 bits, integers and floats, have no white of
    their own: it is the smallest of 1 (floats only), 255, 65535 and the integer type's largest
    value that no pixel exceeds.

    Args:
        upright: the pixels. image: the file, which knows their type.
    """
    from PIL import Image

    if not upright.mode.startswith(_DEEP):
        return upright
    values = np.asarray(upright)
    if upright.mode == "F":
        whites = [1.0, 255.0, 65535.0]
    elif upright.mode.startswith("I;16"):
        whites = [65535.0]
    else:
        tags = getattr(image, "tag_v2", None)
        signed = tags is None or tags.get(_SAMPLE_FORMAT) in (_SIGNED, (_SIGNED,))
        values = values if signed else values.astype(np.int32).view(np.uint32)
        whites = [255.0, 65535.0, float((1 << 31) - 1 if signed else (1 << 32) - 1)]
    levels = values.astype(np.float64)
    low, high = levels.min(), levels.max()
    white = next((each for each in whites if high <= each), None)
    if white is None or not low >= 0:
        raise ValueError(
            f"its values go from {low:g} to {high:g}, where 0 to {whites[-1]:g} can be scaled"
        )
    return Image.fromarray(np.rint(levels * (255.0 / white)).astype(np.uint8))
