"""Raw samples become the arrays of one input: shapes, types, and pixels as numbers."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.model_inputs import ModelInput, ModelInputs
from edgekiln.models.column_indices import KINDS
from edgekiln.models.data.options import Options
from edgekiln.models.data.told_numbers import check_are_own
from edgekiln.models.spec import split
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.inputs import preprocess
from edgekiln.runtime.manifest import Preprocessing

if TYPE_CHECKING:
    from edgekiln.compiler.onnx_model.io import Meta
    from edgekiln.models.data.dataset import Dataset

# Layouts an image model can want, in the order in which they are tried when nobody says.
_LAYOUTS = ("NCHW", "NHWC", "N*")
_RAW_BYTES = 2  # of a pixel, and of a sample of sound, as cameras and microphones give them
# Numbers as they are, in their own order.
_UNCHANGED = Preprocessing(scale=1.0, mean=(0.0,), std=(1.0,), layout="")
_HOW = (
    "say how a pixel p becomes a number, (p · scale − mean) / std, as the model was trained: "
    "--calibrate 'PATH?scale=0.0039216&mean=0.485,0.456,0.406&std=0.229,0.224,0.225', or ?scale=1 "
    "for the values as they are"
)


def own_data(meta: "Meta") -> str:
    """The data that a model names as its own; "" for a function, which only a user may have called.

    A file may be a stranger's.
    """
    from edgekiln.models.data.sample_factory import references_in

    return "" if references_in(meta.data) else meta.data


def ready(
    raw: NDArray[np.generic], want: ModelInput, preprocessing: Preprocessing | None
) -> NDArray[np.generic]:
    """(k, …) raw samples as the model's own numbers: (k, *want.shape) of its type."""
    array = raw if preprocessing is None else preprocess(raw, preprocessing)
    return np.ascontiguousarray(array.reshape(len(raw), *want.shape).astype(want.dtype, copy=False))


def check_are_raw(spec: str, *, columns: bool) -> None:
    """Refuse data that gives indices where a model, or a program, takes `columns`.

    Raises:
        InputError: a table's columns became indices already, which the model makes itself.
    """
    if columns and not split(spec)[1].keys().isdisjoint(KINDS):
        raise InputError(
            f"{spec} gives indices, the model takes columns as they are",
            hint="judge the network without its steps, or give raw columns, without labels: a .npz "
            "of arrays that are named after the inputs",
        )


def picture_of(want: ModelInput, meta: "Meta") -> tuple[tuple[int, int] | None, str]:
    """Height, width and color of the pictures that an input takes; no size for what is no image."""
    if len(want.shape) != 3:
        return None, meta.preprocessing.color if meta.preprocessing else "RGB"
    # Channels are last only where the first axis cannot be theirs: (3, H, 3) is NCHW.
    last = want.shape[2] in (1, 3) and want.shape[0] not in (1, 3)
    height, width, channels = want.shape if last else (*want.shape[1:], want.shape[0])
    color = meta.preprocessing.color if meta.preprocessing else "L" if channels == 1 else "RGB"
    return (height, width), color


def shaped(
    array: NDArray[np.generic], want: ModelInput, takes: ModelInputs, meta: "Meta", where: str
) -> NDArray[np.generic]:
    """The samples of one input with one sample an item of the first axis: (N, …).

    Taken: (N, *sample), (N, batch, *sample), and (N, …) pixels of images.

    Raises:
        InputError: anything else.
    """
    rest, batch = array.shape[1:], takes.batch or 1
    if rest == want.shape or _is_picture(array, want, meta):
        return array
    if takes.batched and rest == (batch, *want.shape):
        return array.reshape(-1, *want.shape)
    if not takes.batched and want.shape[:1] == (1,) and rest == want.shape[1:]:
        # (N, …) → (N, 1, …): a batch of one that is an axis like any other.
        return array[:, None]
    sample = f"({', '.join(['N', *map(str, want.shape)])})"
    raise InputError(
        f"samples of {where} have the shape {rest}, input {want.name!r} takes {want.shape}",
        hint=f"give {want.dtype} {sample}, a sample an item of the first axis",
    )


def options_of_inputs(
    arrays: Mapping[str, NDArray[np.generic]], takes: ModelInputs, options: Options, where: str
) -> dict[str, Options]:
    """What the data's options say of each input.

    `scale`, `mean` and `std` are those of a model's only input. Of several inputs they are those
    of pixels, and of other whole numbers where there are no pixels: floats beside them are the
    model's own already, and the same numbers would hardly be theirs.

    Raises:
        InputError: no input is one that they could be meant for.
    """
    if len(takes.inputs) == 1 or options.numbers(np.dtype(np.float32)) is None:
        return {each.name: options for each in takes.inputs}
    whole = [
        each.name
        for each in takes.inputs
        if np.dtype(each.dtype).kind == "f" and arrays[each.name].dtype.kind in "iub"
    ]
    pixels = [name for name in whole if arrays[name].dtype == np.uint8 and arrays[name].ndim > 2]
    meant = pixels or whole
    if not meant:
        raise InputError(
            f"{where}: scale, mean and std are meant for no input: none takes floats and is given "
            "whole numbers",
            hint="leave them out, and give floats as the model was trained with them; or give the "
            "pixels as uint8",
        )
    silent = replace(options, scale=None, mean=None, std=None)
    return {each.name: options if each.name in meant else silent for each in takes.inputs}


def preprocessing(
    array: NDArray[np.generic],
    want: ModelInput,
    own: Preprocessing | None,
    options: Options,
    where: str,
) -> Preprocessing | None:
    """How samples without labels become the model's numbers; None: they are.

    Floats are the model's own input already, unless options say otherwise. Of pixels and other
    whole numbers the model has to say, or the options.

    Args:
        own: what the model's file says.
        options: of the data.

    Raises:
        InputError: nobody says it, or the types do not go together.
    """
    given, wanted = array.dtype, np.dtype(want.dtype)
    said = options.numbers(given)
    if wanted.kind == "f" and given.kind == "f":
        return None if said is None else replace(said, layout="")
    if wanted.kind == "f" and given.kind in "iub":
        check_are_own(where, said, own)
        numbers = own or said
        if numbers is None:
            raise InputError(
                f"{where}: its samples are {given}, input {want.name!r} takes {want.dtype}, and "
                "the model does not say how one becomes the other",
                hint=_HOW,
            )
        return _laid_out(array, want, numbers, where, free=own is None)
    _check_takes_numbers(want, said, where)
    _check_whole(array, want, where)
    if array.shape[1:] == want.shape:
        return None
    return _laid_out(array, want, _UNCHANGED, where, free=True)


def of_dataset(
    dataset: "Dataset", want: ModelInput, meta: "Meta", where: str
) -> Preprocessing | None:
    """How a labelled data set's samples become a model's numbers; None: they are.

    Raises:
        InputError: they differ in shape.
    """
    told = dataset.preprocessing if dataset.numbers_given else None
    check_are_own(where, told, meta.preprocessing)
    given = meta.preprocessing or dataset.preprocessing
    if given is None:
        return preprocessing(dataset.test.x, want, None, Options(), where)
    floats = dataset.test.x.dtype.kind == "f"
    if meta.preprocessing is None and floats and not (dataset.scored or dataset.numbers_given):
        given = _UNCHANGED  # samples without labels, see `preprocessing`
    if np.dtype(want.dtype).kind in "iub":  # pixels as they are
        _check_takes_numbers(want, told, where)
        _check_whole(dataset.test.x, want, where)
        given = replace(_UNCHANGED, layout=given.layout, color=given.color)
    return _laid_out(dataset.test.x, want, given, where, free=meta.preprocessing is None)


def _laid_out(
    array: NDArray[np.generic], want: ModelInput, numbers: Preprocessing, where: str, *, free: bool
) -> Preprocessing:
    """The preprocessing in the layout that fits; only its own where that is not `free`."""
    candidates = [numbers]
    if array.ndim in (3, 4) and array.dtype == np.uint8 and (free or not numbers.layout):
        channels = array.shape[3] if array.ndim == 4 else 1
        # A picture of one channel may be wanted as gray, and not as three equal colors.
        colored = [numbers]
        if channels == 1 and free:
            colored.append(replace(numbers, color="L"))
        candidates += [replace(each, layout=way) for each in colored for way in _LAYOUTS]
    elif free:
        candidates.append(replace(numbers, layout=""))
    shapes = []
    for candidate in candidates:
        shapes.append(shape := _sample_shape(array, candidate))
        if shape == want.shape:
            return candidate
    is_picture = array.dtype == np.uint8 and array.ndim in (3, 4)
    resized = ", or resize it: --data 'PATH?size=HEIGHTxWIDTH'" if is_picture else ""
    raise InputError(
        f"samples of {where} have the shape {shapes[0]}, the model takes {want.shape}",
        hint=f"give data of the model's size{resized}",
    )


def _sample_shape(array: NDArray[np.generic], numbers: Preprocessing) -> tuple[int, ...]:
    return preprocess(array[:1], numbers).shape[1:]


def _is_picture(array: NDArray[np.generic], want: ModelInput, meta: "Meta") -> bool:
    """Whether these are pixels whose number is the input's, in another order, or of gray."""
    if array.dtype != np.uint8 or array.ndim not in (3, 4):
        return False
    size, _ = picture_of(want, meta)
    if size is not None:
        return array.shape[1:3] == size
    return len(want.shape) == 1 and math.prod(array.shape[1:3]) in (
        want.shape[0],
        want.shape[0] // 3,  # of pixels in three colors
    )


def _check_takes_numbers(want: ModelInput, told: Preprocessing | None, where: str) -> None:
    """Raise InputError if numbers are told of an input that takes numbers of tokens or the like.

    Pixels and sound, of 8 and 16 bits, are what a program takes, and the network in it has numbers.
    """
    wanted = np.dtype(want.dtype)
    if told is not None and (wanted.kind == "b" or wanted.itemsize > _RAW_BYTES):
        raise InputError(
            f"{where}: scale, mean and std go with floats, input {want.name!r} takes {want.dtype}",
            hint="leave them out: whole numbers are taken as they are",
        )


def _check_whole(array: NDArray[np.generic], want: ModelInput, where: str) -> None:
    """Raise InputError unless the samples are whole numbers that the input's type holds."""
    wanted = np.dtype(want.dtype)
    hint = f"convert them: samples.astype({want.dtype!r})"
    if array.dtype.kind not in "iub" or (wanted.kind == "b" and array.dtype.kind != "b"):
        raise InputError(
            f"{where}: its samples are {array.dtype}, input {want.name!r} takes {want.dtype}",
            hint=hint,
        )
    if wanted.kind in "iu" and array.dtype.kind != "b":
        limits = np.iinfo(wanted)
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            raise InputError(
                f"{where}: its samples are {low} to {high}, which {want.dtype} does not hold",
                hint="give samples of the input's own type",
            )
