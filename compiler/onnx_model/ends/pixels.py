"""Camera frames become the image that a network takes: colors, crop, resize, letterbox, numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model.ends.graph_end import GraphEnd
from edgekiln.compiler.onnx_model.ends.resampling import UNIT, Resampling, bilinear
from edgekiln.compiler.onnx_model.ends.steps import SPECTRA, EndStep, Size
from edgekiln.compiler.onnx_model.ends.yuv import YuvFormat, YuvFrame
from edgekiln.runtime.images import CHANNELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import Preprocessing

SOURCES = ("pixels", "nv12", "yuyv")
_GRAY = 114  # around a letterboxed picture, as YOLO has it; of 255


@dataclass(frozen=True, kw_only=True)
class FramePlace:
    """Where a picture lies in the frame that it was made of: along each axis, a frame's place is
    offset + factor · the picture's. Rows first, as in `Size`.
    """

    frame: Size
    factor: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    def moved(self, by: tuple[int, int]) -> "FramePlace":
        """That of the part which begins at these pixels of the picture; below 0 lies a border."""
        steps = zip(self.offset, self.factor, by, strict=True)
        rows, columns = (offset + factor * pixels for offset, factor, pixels in steps)
        return replace(self, offset=(rows, columns))

    def scaled(self, before: Size, after: Size) -> "FramePlace":
        """That of the picture in another size."""
        rows, columns = (
            factor * old / new for factor, old, new in zip(self.factor, before, after, strict=True)
        )
        return replace(self, factor=(rows, columns))


@dataclass(frozen=True, kw_only=True)
class Picture:
    """uint8 pixels under way: (N, *size, channels)."""

    name: str
    size: Size
    place: FramePlace


def frame_shape(source: EndStep, size: Size, channels: int) -> tuple[int, ...]:
    """What a call takes for one sample. Raises ConfigError: odd sizes of a format of pairs."""
    if source.name == "pixels":
        return *size, channels
    if size[0] % 2 or size[1] % 2:
        raise source.wrong("these formats have pairs of pixels", hint="give even sizes")
    return _yuv(source, size).shape


def image(
    end: GraphEnd, name: str, steps: Sequence[EndStep], sizes: tuple[Size, Size],
    numbers: "Preprocessing", result: str,
) -> FramePlace:  # fmt: skip
    """Write the way from a frame to a network's image; returns where that lies in the frame.

    Args:
        name: of the frame.
        steps: the source first.
        sizes: of the frame, and of the image that the network takes.
        numbers: how the network was trained; the layout is that of its input.
        result: the name of what is made.

    Raises:
        ConfigError: a step does not fit, or the size at the end is not the network's.
    """
    source, *geometry = steps
    size, wanted = sizes
    channels = CHANNELS[numbers.color]
    picture = Picture(
        name=_in_color(end, name, source, size, channels), size=size, place=FramePlace(frame=size)
    )
    around: tuple[int, ...] = ()
    for step in geometry:
        if step.name in SPECTRA:
            raise step.wrong("is a step of sound", hint="of pictures there are crop and resize")
        if around:
            raise step.wrong("stands behind letterbox", hint="letterbox is the last of them")
        match step.name:
            case "crop":
                picture = _cropped(end, picture, step)
            case "resize":
                picture = _resized(end, picture, wanted)
            case _:
                inner = _inside(picture.size, wanted)
                picture = _resized(end, picture, inner)
                around = _margins(inner, wanted)
                fill = _GRAY if step.count is None else step.count
                if fill > 255:
                    raise step.wrong("a pixel is 0 to 255", hint="gray is letterbox=114")
    if not around and picture.size != wanted:
        raise source.wrong(
            f"{picture.size[0]}×{picture.size[1]} pixels, the model takes {wanted[0]}×{wanted[1]}",
            hint=f"add resize, letterbox, or crop={wanted[0]}x{wanted[1]}",
        )
    real = end.numbers_of(picture.name)
    place = picture.place
    if any(around):
        top, left, bottom, right = around
        place = place.moved((-top, -left))
        pads = end.constant(np.array([0, top, left, 0, 0, bottom, right, 0]), "margins")
        gray = end.constant(np.array(fill, np.float32), "gray")
        real = end.op("Pad", real, pads, gray, what="letterbox", mode="constant")
    _normalized(end, real, numbers, result)
    return place


def _yuv(source: EndStep, size: Size) -> YuvFrame:
    format_: YuvFormat = "nv12" if source.name == "nv12" else "yuyv"
    return YuvFrame(format=format_, height=size[0], width=size[1])


def _in_color(end: GraphEnd, name: str, source: EndStep, size: Size, channels: int) -> str:
    if source.name == "pixels":
        return name
    frame = _yuv(source, size)
    labels = ("luma_rows", "luma_columns", "chroma_rows", "u_columns", "v_columns")
    used = frame.operands if channels == 3 else frame.luma
    places = [end.constant(array, what) for array, what in zip(used, labels, strict=False)]
    return end.own("YuvToRgb" if channels == 3 else "YuvToGray", name, *places, what=source.name)


def _cropped(end: GraphEnd, picture: Picture, step: EndStep) -> Picture:
    assert step.size is not None, step.text  # it is needed
    margins = [have - want for have, want in zip(picture.size, step.size, strict=True)]
    if min(margins) < 0:
        raise step.wrong(
            f"of {picture.size[0]}×{picture.size[1]} pixels", hint="crop to less, or resize first"
        )
    # What lies in the middle, as the data option `crop` takes it.
    rows, columns = (
        _part(margin // 2, want) if margin else None
        for margin, want in zip(margins, step.size, strict=True)
    )
    part = _resampled(end, _resampled(end, picture, rows, 0), columns, 1)
    return replace(part, place=picture.place.moved((margins[0] // 2, margins[1] // 2)))


def _resized(end: GraphEnd, picture: Picture, size: Size) -> Picture:
    """Columns first: so does Pillow, whose codes these are."""
    place = picture.place.scaled(picture.size, size)
    for axis in (1, 0):
        before, after = picture.size[axis], size[axis]
        picture = _resampled(
            end, picture, bilinear(before, after) if before != after else None, axis
        )
    return replace(picture, place=place)


def _part(start: int, count: int) -> Resampling:
    return Resampling(
        starts=np.arange(start, start + count, dtype=np.int32),
        weights=np.full((count, 1), UNIT, np.int32),
    )


def _resampled(end: GraphEnd, picture: Picture, by: Resampling | None, axis: int) -> Picture:
    """Args: axis: 0, the rows, or 1, the columns. by: None: nothing changes."""
    if by is None:
        return picture
    what = ("rows", "columns")[axis]
    # Behind a pixel's taps come the axes that lie behind it.
    weights = by.weights.reshape(*by.weights.shape, *[1] * (2 - axis))
    operands = end.constant(by.places, f"{what}.places"), end.constant(weights, f"{what}.weights")
    name = end.own(f"Resample{what.title()}", picture.name, *operands, what=what)
    size = [*picture.size]
    size[axis] = len(by.starts)
    return replace(picture, name=name, size=(size[0], size[1]))


def _inside(size: Size, wanted: Size) -> Size:
    """The largest size of these proportions that fits."""
    factor = min(wanted[0] / size[0], wanted[1] / size[1])
    height, width = (max(1, round(extent * factor)) for extent in size)
    return min(height, wanted[0]), min(width, wanted[1])


def _margins(inner: Size, wanted: Size) -> tuple[int, int, int, int]:
    """Top, left, bottom, right."""
    rest = [want - have for have, want in zip(inner, wanted, strict=True)]
    return rest[0] // 2, rest[1] // 2, rest[0] - rest[0] // 2, rest[1] - rest[1] // 2


def _normalized(end: GraphEnd, real: str, numbers: "Preprocessing", result: str) -> None:
    """(p · scale − mean) / std in float32, step by step as `runtime.inputs.preprocess` computes it,
    in the layout of the network.
    """
    planes, flat = numbers.layout != "NHWC", numbers.layout == "N*"
    work: list[_Write] = []
    if planes:
        work.append(lambda x, result: end.op("Transpose", x, result=result, perm=(0, 3, 1, 2)))
    arithmetic = [
        (op, _number_or_channels(values, planes))
        for op, values, nothing in (
            ("Mul", (numbers.scale,), 1.0), ("Sub", numbers.mean, 0.0), ("Div", numbers.std, 1.0)
        )
        if any(value != nothing for value in values)
    ]  # fmt: skip
    # Last what computes, so that with the quantization behind it it becomes a table; but channels
    # must be an axis still.
    each = flat and any(values.size > 1 for _, values in arithmetic)
    if flat and not each:
        work.append(partial(_flattened, end))
    work += [partial(_computed, end, op, values) for op, values in arithmetic]
    if each:
        work.append(partial(_flattened, end))
    *first, last = work or [lambda x, result: end.op("Identity", x, result=result)]
    for write in first:
        real = write(real, "")
    last(real, result)


# Appends a node that reads the first name and makes the second, or, of "", a new one.
_Write = Callable[[str, str], str]


def _flattened(end: GraphEnd, x: str, result: str) -> str:
    return end.op("Flatten", x, result=result, axis=1)


def _computed(end: GraphEnd, op: str, values: "NDArray[np.float32]", x: str, result: str) -> str:
    return end.op(op, x, end.constant(values, op.lower()), result=result)


def _number_or_channels(values: tuple[float, ...], planes: bool) -> "NDArray[np.float32]":
    """One number where all are equal, so that one table serves all channels."""
    array = np.array(values if len(set(values)) > 1 else values[0], np.float32)
    return array.reshape(1, -1, 1, 1) if planes and array.size > 1 else array
