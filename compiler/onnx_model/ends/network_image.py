"""What a network takes, and the picture, if it takes one."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import extents, io
from edgekiln.compiler.onnx_model.ends.steps import EndStep, Size
from edgekiln.runtime.images import CHANNELS
from edgekiln.runtime.manifest import Preprocessing

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, kw_only=True)
class NetworkImage:
    """The image that a network takes."""

    value: "onnx.ValueInfoProto"
    size: Size
    numbers: Preprocessing


def inputs(model: "onnx.ModelProto", meta: io.Meta) -> "list[onnx.ValueInfoProto]":
    """All that are no states."""
    states = {name for name, _ in meta.states}
    return [value for value in extents.model_inputs(model) if value.name not in states]


def first_input(model: "onnx.ModelProto", meta: io.Meta) -> "onnx.ValueInfoProto":
    """The one that steps go before."""
    return inputs(model, meta)[0]


def image_of(model: "onnx.ModelProto", source: EndStep, meta: io.Meta) -> NetworkImage:
    """The image that a network takes. Raises ConfigError: it takes none, or does not say how."""
    value = first_input(model, meta)
    numbers = meta.preprocessing
    if numbers is None or not numbers.layout:
        raise source.wrong(
            "the model does not say how a pixel becomes a number",
            hint="build it with the data it was trained for, or say it: --calibrate "
            "'PATH?scale=0.0039216&mean=0.485,0.456,0.406&std=0.229,0.224,0.225'",
        )
    shape, channels = extents.extents(value)[1:], CHANNELS[numbers.color]
    sizes = [extent for extent in shape if isinstance(extent, int)]
    match numbers.layout, sizes:
        case "NCHW", [count, height, width] if count == channels:
            size = height, width
        case "NHWC", [height, width, count] if count == channels:
            size = height, width
        case "N*", [count] if source.size and math.prod(source.size) * channels == count:
            size = source.size
        case "N*", [count] if math.isqrt(count // channels) ** 2 * channels == count:
            size = (math.isqrt(count // channels),) * 2
        case _:
            raise source.wrong(
                f"input {value.name!r} of shape {list(shape)} is no image in {numbers.color}",
                hint="steps of pictures go before a network that takes pictures",
            )
    return NetworkImage(value=value, size=size, numbers=numbers)


def size_of(model: "onnx.ModelProto", meta: io.Meta) -> Size | None:
    """The size of the picture that a network takes; None if it takes none."""
    match extents.extents(first_input(model, meta)):
        case [_, 1 | 3, int(height), int(width)]:
            return height, width
        case [_, int(height), int(width), 1 | 3]:
            return height, width
    return None
