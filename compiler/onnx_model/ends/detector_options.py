"""How a detector's outputs are read, as users write it: "yolox?strides=8,16,32&score=0.3"."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.ends.steps import AFTER, EndStep, parsed
from edgekiln.models.spec import split
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.manifest import DETECTIONS
from edgekiln.runtime.npy import read_npy
from edgekiln.runtime.typed import did_you_mean

BoxForm = Literal["corners", "centers", "distances", "ssd", "yolov3", "yolov5", "yolox"]
ScoreForm = Literal["given", "sigmoid", "softmax"]
BoxUnit = Literal["pixels", "shares"]
FORMS: tuple[BoxForm, ...] = get_args(BoxForm)
ON_GRIDS = ("distances", "yolov3", "yolov5", "yolox")
WITH_ANCHORS = ("yolov3", "yolov5")
_WITH_OBJECT = ("yolov3", "yolov5", "yolox")
_MOST = 1 << 16
# Of float32, in which boxes are computed: what is beyond would become infinite, or nothing.
_LARGEST, _SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)
Anchors = tuple[tuple[float, float], ...]  # width, height


@dataclass(frozen=True, kw_only=True)
class DetectorOptions:
    """`boxes` is how four numbers become a box, `scores` how others become scores."""

    boxes: BoxForm
    scores: ScoreForm
    units: BoxUnit
    has_object: bool  # a number says how surely there is something, whatever it is
    background: int | None  # the class that is nothing
    strides: tuple[int, ...]  # pixels from a cell to the next, of each grid
    anchors: Anchors  # of all grids, those of the first one first
    priors: Path | None
    variances: tuple[float, float]  # of an offset, of the logarithm of a size
    score: float  # what a score has to be above
    overlap: float
    per_class: int | None
    most: int
    together: bool


def read(step: EndStep) -> DetectorOptions:
    """Read what stands behind "detections=".

    Raises:
        ConfigError: an unknown form or option, or one that does not fit; the message names the
            step.
    """
    name, given = split(step.spec)
    if name not in FORMS:
        raise step.wrong(f"no boxes {name!r}", hint=did_you_mean(name, FORMS, what="forms are"))
    form: BoxForm = next(each for each in FORMS if each == name)
    reader = _OptionReader(step=step, given=given)
    for key in given:
        if key not in _KEYS:
            raise step.wrong(
                f"no option {key!r}", hint=did_you_mean(key, _KEYS, what="options are")
            )
    scores: ScoreForm = "given"
    if form == "ssd":
        scores = "softmax"
    elif form in ON_GRIDS:
        scores = "sigmoid"
    wanted = given.get("scores", scores)
    known: tuple[ScoreForm, ...] = get_args(ScoreForm)
    units: BoxUnit = "shares" if reader.word("units", ("pixels", "shares"), form) else "pixels"
    background = reader.number("background", 0 if form == "ssd" else -1, -1, _MOST)
    options = DetectorOptions(
        boxes=form,
        scores=next(each for each in known if each == reader.choice("scores", wanted, known)),
        units=units,
        has_object=reader.flag("object", form in _WITH_OBJECT),
        background=None if background < 0 else int(background),
        strides=tuple(int(each) for each in reader.numbers("strides", 1, _MOST)),
        anchors=reader.anchors(),
        priors=Path(given["priors"]) if given.get("priors") else None,
        variances=reader.pair("variances", (0.1, 0.2)),
        score=reader.number("score", 0.25, -math.inf, math.inf),
        overlap=reader.number("iou", 0.45, 0.0, 1.0),
        per_class=int(reader.number("per-class", 0, 0, _MOST)) or None,
        most=int(reader.number("most", 100, 1, _MOST)),
        together=reader.flag("together", False),
    )
    _check(step, options)
    return options


_KEYS = (
    "scores", "units", "object", "background", "strides", "anchors", "priors", "variances", "score",
    "iou", "per-class", "most", "together",
)  # fmt: skip
_WHOLE = ("background", "strides", "per-class", "most")


@dataclass(frozen=True, kw_only=True)
class _OptionReader:
    """Options as text, and the numbers they are."""

    step: EndStep
    given: Mapping[str, str]

    def number(self, key: str, default: float, low: float, high: float) -> float:
        numbers = self.numbers(key, low, high) if key in self.given else (default,)
        if len(numbers) != 1:
            raise self._wrong(key, "one number")
        return numbers[0]

    def numbers(self, key: str, low: float, high: float) -> tuple[float, ...]:
        if key not in self.given:
            return ()
        kind: Callable[[str], float] = int if key in _WHOLE else float
        try:
            numbers = tuple(kind(part) for part in self.given[key].split(","))
        except ValueError:
            raise self._wrong(key, "a whole number" if kind is int else "a number") from None
        low, high = max(low, -_LARGEST), min(high, _LARGEST)
        if not all(low <= number <= high for number in numbers):  # NaN is not
            raise self._wrong(key, f"a number from {low:g} to {high:g}")
        return numbers

    def pair(self, key: str, default: tuple[float, float]) -> tuple[float, float]:
        if key not in self.given:
            return default
        numbers = self.numbers(key, 1e-6, 1e6)
        if len(numbers) != 2:
            raise self._wrong(key, "two numbers: 0.1,0.2")
        return numbers[0], numbers[1]

    def flag(self, key: str, default: bool) -> bool:
        usual = "true" if default else "false"
        return self.choice(key, self.given.get(key, usual), ("true", "false")) == "true"

    def word(self, key: str, words: tuple[str, str], form: str) -> bool:
        """Whether it is the second word, which it is of SSD's boxes where nobody says it."""
        return self.choice(key, self.given.get(key, words[form == "ssd"]), words) == words[1]

    def choice(self, key: str, text: str, choices: tuple[str, ...]) -> str:
        if text not in choices:
            raise self._wrong(key, f"one of {', '.join(choices)}")
        return text

    def anchors(self) -> Anchors:
        found = []
        for text in self.given["anchors"].split(",") if "anchors" in self.given else []:
            width, _, height = text.partition("x")
            try:
                found.append((float(width), float(height)))
            except ValueError:
                raise self._wrong("anchors", "widths x heights in pixels: 10x13,16x30") from None
        if not all(_SMALLEST <= side <= _LARGEST for sides in found for side in sides):
            raise self._wrong("anchors", "sizes above 0")
        return tuple(found)

    def _wrong(self, key: str, wanted: str) -> Exception:
        return self.step.wrong(f"{key}={self.given[key]} does not fit", hint=f"give {wanted}")


def _check(step: EndStep, options: DetectorOptions) -> None:
    """Whether what a form needs is there, and nothing that it does not read."""
    form = options.boxes
    needs = {"strides": form in ON_GRIDS, "anchors": form in WITH_ANCHORS, "priors": form == "ssd"}
    examples = {
        "strides": "strides=8,16,32", "anchors": "anchors=10x13,16x30,33x23",
        "priors": "priors=priors.npy, (boxes, 4) numbers: center x, center y, width, height",
    }  # fmt: skip
    for key, needed in needs.items():
        there = bool(getattr(options, key))
        if there != needed:
            raise step.wrong(
                f"{form} needs {key}" if needed else f"{form} has no {key}",
                hint=f"say {examples[key]}" if needed else f"leave {key} out",
            )
    if options.anchors and len(options.anchors) % len(options.strides):
        raise step.wrong(
            f"{len(options.anchors)} anchors for {len(options.strides)} grids",
            hint="give each grid as many, those of the first stride first",
        )


def files_of(after: Sequence[str]) -> list[Path]:
    """The files that steps read. Raises InputError: one is not there."""
    steps = parsed(after, AFTER, "after")
    files = [read(step).priors for step in steps if step.name == DETECTIONS]
    for path in filter(None, files):
        if not path.is_file():
            raise InputError(f"{path}: no such file", hint="priors are saved with np.save")
    return [path for path in files if path is not None]


def priors_of(step: EndStep, path: Path, count: int) -> NDArray[np.float32]:
    """(count, 4) center x, center y, width, height. Raises ConfigError, InputError."""
    array = read_npy(path)
    if array.shape != (count, 4) or array.dtype.kind != "f":
        raise step.wrong(
            f"{path} holds {array.dtype} of shape {array.shape}",
            hint=f"the network has {count} boxes: save floats of shape ({count}, 4)",
        )
    if not np.isfinite(array).all() or array[:, 2:].min() <= 0:
        raise InputError(
            f"{path}: holds sizes that are not above 0, or no numbers",
            hint="each row is center x, center y, width, height",
        )
    return array.astype(np.float32)
