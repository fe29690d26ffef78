"""The options after a data set's `?`."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

import numpy as np

from edgekiln.models.column_indices import KINDS, counts_of, edges_of
from edgekiln.models.data.spectrum import KEYS as SPECTRUM_KEYS
from edgekiln.models.data.spectrum import Spectrum, spectrum_of
from edgekiln.models.spec import join, split
from edgekiln.models.text.table_format import LEAST_LENGTH, MOST_LENGTH
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.manifest import Preprocessing, preprocessing_fault
from edgekiln.runtime.typed import did_you_mean

OF_TABLES = ("target", "columns", "text", *KINDS)
OF_TEXTS = ("vocabulary", "length", "lower")
INPUTS = "inputs"  # of texts, of archives, and beside columns that become indices
OF_SOUNDS = ("seconds", "frame", "rate", *SPECTRUM_KEYS)
OF_PICTURES = ("size", "color", "crop", "layout")
# No function's samples have these: they are arguments of its own.
OF_FILES = (*OF_TABLES, *OF_TEXTS, INPUTS, *OF_SOUNDS)
KEYS = (
    "scale", "mean", "std", "limit", "val", "calib", "test", "steps", "task", "transform",
    *OF_PICTURES, *OF_FILES,
)  # fmt: skip
CSV, PARQUET = (".csv", ".tsv"), (".parquet",)  # how tables are named
USUAL_LAYOUT = "NCHW"
_LAYOUTS = (USUAL_LAYOUT, "NHWC", "N*")
_COLORS = ("RGB", "L")
_FLAGS = ("true", "false")
_MOST = 2**31 - 1  # samples, pixels, …: more than any data set has
_MOST_SECONDS = 24 * 3600.0  # of a sound


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to load a data set; None: decide from the data.

    Sizes (`val`, `calib`, `test`) stay text: a share of the samples or a count, see
    `splits.size_of`.
    """

    scale: float | None = None  # x = (pixel * scale - mean) / std
    mean: tuple[float, ...] | None = None  # one for all channels, or one each
    std: tuple[float, ...] | None = None
    layout: str | None = None  # of pictures, NCHW unless told
    color: str | None = None
    size: tuple[int, int] | None = None  # height, width
    limit: int | None = None  # at most so many samples of each part of the files
    val: str | None = None
    calib: str | None = None
    test: str | None = None
    frame: int | None = None  # of sound: samples of a frame
    hop: int | None = None  # of sound: samples from one frame to the next
    rate: int | None = None  # of sound: what the files must have, samples a second
    steps: int | None = None  # samples that follow each other and make a stream
    task: str = ""  # what the targets are for, see `tasks.heads`; "": as the files say

    target: tuple[str, ...] = ()  # columns of a table
    columns: tuple[str, ...] = ()  # features of a table; (): all others
    crop: tuple[int, int] | None = None  # height, width of the middle, after any resizing
    transform: str = ""  # a function of the user's, see `transform`
    seconds: float | None = None  # length of sounds
    spectrum: Spectrum | None = None  # of sounds, in place of waves
    text: str = ""  # the column of a table that is text
    vocabulary: str = ""  # of the tokens that texts become
    length: int | None = None  # so many tokens
    lower: bool | None = None  # whether letters lose case and accents; None: as the vocabulary says
    # What takes tokens, mask and types, (): by BERT's names; or the features beside columns that
    # become indices; or arrays of an archive that are inputs and no labels.
    inputs: tuple[str, ...] = ()
    edges: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # by column
    hashes: Mapping[str, int] = field(default_factory=dict)  # how many indices, by column

    def numbers(self, dtype: "np.dtype[np.generic]") -> Preprocessing | None:
        """What `scale`, `mean` and `std` say of samples of this type; None where they say nothing.

        Who gives one of them means just that: the others are then 1/255 (of bytes, else 1), 0
        and 1.
        """
        if (self.scale, self.mean, self.std) == (None, None, None):
            return None
        usual = 1 / 255 if dtype == np.uint8 else 1.0
        return Preprocessing(
            scale=usual if self.scale is None else self.scale,
            mean=self.mean or (0.0,),
            std=self.std or (1.0,),
            layout=self.layout or USUAL_LAYOUT,
            color=self.color or "RGB",
        )


def parse(name: str, given: Mapping[str, str]) -> Options:
    """Check and convert.

    Raises:
        ConfigError: an unknown key, or a value that does not fit; the message names both.
    """
    for key in given:
        if key not in KEYS:
            raise ConfigError(
                f"{name}: no data option {key!r}", hint=did_you_mean(key, KEYS, what="options are")
            )
    get = given.get
    options = Options(
        scale=_number("scale", given["scale"]) if "scale" in given else None,
        mean=_numbers("mean", given["mean"]) if "mean" in given else None,
        std=_positive("std", given["std"]) if "std" in given else None,
        layout=_choice("layout", given["layout"], _LAYOUTS) if "layout" in given else None,
        color=_choice("color", given["color"], _COLORS) if "color" in given else None,
        size=_size("size", given["size"]) if "size" in given else None,
        limit=_count("limit", given["limit"]) if "limit" in given else None,
        val=get("val"),
        calib=get("calib"),
        test=get("test"),
        **{
            key: _count(key, given[key])
            for key in ("frame", "hop", "rate", "steps", "length")
            if key in given
        },
        task=unquote(get("task", "")),
        target=_names(get("target", "")),
        columns=_names(get("columns", "")),
        crop=_size("crop", given["crop"]) if "crop" in given else None,
        transform=get("transform", ""),
        seconds=_seconds(given["seconds"]) if "seconds" in given else None,
        spectrum=spectrum_of(given, _refused),
        text=get("text", ""),
        vocabulary=get("vocabulary", ""),
        lower=_choice("lower", given["lower"], _FLAGS) == "true" if "lower" in given else None,
        inputs=_names(get("inputs", "")),
        edges=_edges(given["buckets"]) if "buckets" in given else {},
        hashes=counts_of(given["hash"], _refused_of("hash")) if "hash" in given else {},
    )
    if options.length is not None and not LEAST_LENGTH <= options.length <= MOST_LENGTH:
        raise _wrong("length", given["length"], f"tokens, {LEAST_LENGTH} to {MOST_LENGTH}")
    numbers = options.numbers(np.dtype(np.float32))
    if numbers is not None and (fault := preprocessing_fault(numbers)):
        raise ConfigError(f"{name}: {fault}", hint="give other numbers for scale, mean and std")
    return options


def with_task(data: str, task: str) -> str:
    """The spec of data whose targets are for `task`. One that it names itself is replaced."""
    name, options = split(data)
    # What joins the options of a task must not join those of the data.
    return join(name, {**options, "task": quote(task, safe="=,?:.")}) if task else data


def task_in(data: str) -> str:
    """The task that a spec of data names; "" where it names none."""
    return unquote(split(data)[1].get("task", ""))


def _refused(what: str, hint: str) -> ConfigError:
    return ConfigError(f"data option {what}", hint=hint)


def _refused_of(key: str) -> Callable[[str, str], ConfigError]:
    return lambda what, hint: _refused(f"{key}: {what}", hint)


def _edges(text: str) -> dict[str, tuple[float, ...]]:
    found = edges_of(text, _refused_of("buckets"))
    return {name: tuple(edges.tolist()) for name, edges in found.items()}


def _wrong(key: str, text: str, hint: str) -> ConfigError:
    return ConfigError(f"data option {key}={text}: does not fit", hint=hint)


def _numbers(key: str, text: str) -> tuple[float, ...]:
    hint = "a number, or one for each channel: 0.49,0.48,0.45"
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise _wrong(key, text, hint) from None
    if not all(map(math.isfinite, numbers)):
        raise _wrong(key, text, hint)
    return numbers


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


def _number(key: str, text: str) -> float:
    numbers = _numbers(key, text)
    if len(numbers) != 1:
        raise _wrong(key, text, "one number for all channels")
    return numbers[0]


def _positive(key: str, text: str) -> tuple[float, ...]:
    numbers = _numbers(key, text)
    if min(numbers) <= 0:
        raise _wrong(key, text, "it must be above 0")
    return numbers


def _choice(key: str, text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise _wrong(key, text, f"one of {', '.join(choices)}")
    return text


def _seconds(text: str) -> float:
    seconds = _positive("seconds", text)
    if len(seconds) != 1 or seconds[0] > _MOST_SECONDS:
        raise _wrong("seconds", text, f"one number of seconds, at most {_MOST_SECONDS:g}")
    return seconds[0]


def _count(key: str, text: str) -> int:
    if not _is_count(text):
        raise _wrong(key, text, "a whole number above 0")
    return int(text)


def _is_count(text: str) -> bool:
    # By its length first: Python converts no numbers of thousands of digits.
    return text.isdecimal() and len(text) <= len(str(_MOST)) and 0 < int(text) <= _MOST


def _size(key: str, text: str) -> tuple[int, int]:
    sides = text.split("x")
    if len(sides) > 2 or not all(map(_is_count, sides)):
        raise _wrong(key, text, "pixels of both sides, or height x width: 96x64")
    return int(sides[0]), int(sides[-1])
