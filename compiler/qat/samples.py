"""What a quantized network is trained on: the data set's own labels, or the float model's answers.

Where samples have no labels, those that a range was calibrated on are trained on, and the float
model says what is right.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgekiln.compiler.onnx_model import samples
from edgekiln.models.data.dataset import ONLY, Dataset, Split
from edgekiln.runtime.errors import ConfigError, UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.compiler.onnx_model.feed import Feed, PartName
    from edgekiln.compiler.qat.float_teacher import FloatTeacher
    from edgekiln.runtime.manifest import Preprocessing

_BATCH = 64
_ANSWERED: "tuple[PartName, ...]" = ("calib", "val")


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """`labelled`: whether the targets are the data's own."""

    data: Dataset
    labelled: bool


def lessons(feed: "Feed", teacher: "FloatTeacher") -> Lessons:
    """The data to train on and to choose the best epoch by.

    Raises:
        ConfigError: no labels, and a model of several outputs.
        UnsupportedError: the model takes one sample at a time, or remembers.
    """
    if not feed.takes.batched or feed.takes.states:
        raise UnsupportedError(
            "quantization-aware training needs a model whose first axis is the samples'",
            hint="export it with a batch, or quantize without --qat-epochs",
        )
    labelled = bool(feed.parts["train"].targets) and len(feed.parts["train"]) > 0
    task, parts = (feed.task, _labelled(feed)) if labelled else _told(feed, teacher)
    data = Dataset(
        name=feed.name,
        classes=feed.classes,
        task=task,
        preprocessing=feed.preprocessing,
        train=parts["train"],
        val=parts["val"],
        calib=parts["calib"],
        test=parts["test"],
    )
    return Lessons(data=data, labelled=labelled)


def _labelled(feed: "Feed") -> "dict[PartName, Split]":
    return {
        part: Split(inputs=_inputs(feed, part), targets=held.targets)
        for part, held in feed.parts.items()
    }


def _told(feed: "Feed", teacher: "FloatTeacher") -> "tuple[str, dict[PartName, Split]]":
    """The task that the float model's answers are of, and the parts with them for targets."""
    answers = {part: _answers(feed, part, teacher) for part in _ANSWERED}
    known = {
        part: Split(inputs=_inputs(feed, part), targets={ONLY: targets})
        for part, targets in answers.items()
    }
    task = "classification" if answers["val"].dtype.kind == "i" else "regression"
    # Nothing is trained on what the result is judged by.
    return task, {**known, "train": known["calib"], "test": known["val"]}


def _inputs(feed: "Feed", part: "PartName") -> "dict[str, NDArray[np.generic]]":
    """Raw samples of the first input, which may be augmented; the model's own of all others."""
    found = {}
    for place, each in enumerate(feed.takes.inputs):
        array = feed.parts[part].inputs[each.name]
        numbers: Preprocessing | None = feed.preprocessings.get(each.name)
        found[each.name] = array if place == 0 else samples.ready(array, each, numbers)
    return found


def _answers(feed: "Feed", part: "PartName", teacher: "FloatTeacher") -> "NDArray[np.generic]":
    """The float model's, (N,) classes where it gives a row of logits, else its numbers."""
    found = []
    for given in feed.batches(part, batch=_BATCH):
        inputs = (torch.from_numpy(given[each.name]) for each in feed.takes.inputs)
        outputs = list(teacher(*inputs).values())
        if len(outputs) != 1:
            raise ConfigError(
                "quantization-aware training of a model with several outputs needs labels",
                hint="give labelled samples: --data",
            )
        found.append(outputs[0].numpy())
    answers: NDArray[np.generic] = np.concatenate(found)
    if answers.ndim == 2 and answers.shape[1] > 1:
        classes: NDArray[np.int64] = answers.argmax(axis=1).astype(np.int64)
        return classes
    return answers
