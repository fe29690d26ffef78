"""A network's output becomes an answer: probabilities, classes, decisions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekiln.compiler.onnx_model.ends import hysteresis
from edgekiln.compiler.onnx_model.ends.graph_end import GraphEnd
from edgekiln.compiler.onnx_model.ends.steps import EndStep
from edgekiln.compiler.onnx_model.io import Meta
from edgekiln.runtime.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Numbers under way, and the axis of the classes."""

    name: str
    shape: tuple[int | str, ...]  # of which the batch alone may be open
    axis: int


@dataclass(frozen=True, kw_only=True)
class GivenOutput:
    """What a model gives in the end."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @property
    def is_known(self) -> bool:
        """Whether it is of floats, and its batch alone may be open."""
        inner = self.shape[1:]
        return self.dtype == "float32" and all(isinstance(each, int) for each in inner)


def answers(end: GraphEnd, scores: Scores, steps: Sequence[EndStep]) -> list[GivenOutput]:
    """Write the way from scores to the outputs.

    Raises:
        ConfigError: a step does not fit.
    """
    last = GivenOutput(name=scores.name, dtype="float32", shape=scores.shape)
    for place, step in enumerate(steps):
        if last.dtype != "float32":
            raise step.wrong(
                f"stands behind {steps[place - 1].text}, which gives {last.dtype}",
                hint="it takes scores",
            )
        is_last = step is steps[-1]
        result = _RESULTS.get(step.name, "") if is_last else ""
        match step.name:
            case "softmax":
                name = end.op("Softmax", last.name, axis=scores.axis, result=_free(end, result))
                last = GivenOutput(name=name, dtype="float32", shape=last.shape)
            case "sigmoid":
                name = end.op("Sigmoid", last.name, result=_free(end, result))
                last = GivenOutput(name=name, dtype="float32", shape=last.shape)
            case "threshold":
                least = end.constant(np.array(step.number, np.float32), "threshold")
                name = end.op("GreaterOrEqual", last.name, least, result=_free(end, result))
                last = GivenOutput(name=name, dtype="bool", shape=last.shape)
            case "hysteresis":
                inner = tuple(int(extent) for extent in last.shape[1:])
                name = hysteresis.decided(end, step, last.name, inner, _free(end, result))
                last = GivenOutput(name=name, dtype="bool", shape=last.shape)
            case "argmax":
                shape = _without(last.shape, scores.axis)
                name = end.op(
                    "ArgMax", last.name, axis=scores.axis, keepdims=0, result=_free(end, result)
                )
                last = GivenOutput(name=name, dtype="int64", shape=shape)
            case _:
                return _largest(end, last, scores.axis, step, is_last)
    return [last]


_RESULTS = {
    "softmax": "probabilities", "sigmoid": "probabilities", "threshold": "decisions",
    "hysteresis": "decisions", "argmax": "classes",
}  # fmt: skip


def _free(end: GraphEnd, result: str) -> str:
    return end.facts.free(result) if result else ""


def _without(shape: tuple[int | str, ...], axis: int) -> tuple[int | str, ...]:
    return shape[:axis] + shape[axis + 1 :]


def _largest(
    end: GraphEnd, scores: GivenOutput, axis: int, step: EndStep, is_last: bool
) -> list[GivenOutput]:
    """The classes with the largest scores, and these."""
    classes, count = scores.shape[axis], step.count
    if not is_last:
        raise step.wrong("is no last step", hint="it gives two outputs: put it at the end")
    if not count or (isinstance(classes, int) and count > classes):
        raise step.wrong(f"of {classes} classes", hint="take fewer, at least one")
    names = [end.facts.free(name) for name in ("classes", "best")]
    how_many = end.constant(np.array([count], np.int64), "count")
    end.op("TopK", scores.name, how_many, result=names[1], axis=axis)
    end.nodes[-1].output.append(names[0])
    shape = (*scores.shape[:axis], count, *scores.shape[axis + 1 :])
    return [
        GivenOutput(name=names[0], dtype="int64", shape=shape),
        GivenOutput(name=names[1], dtype="float32", shape=shape),
    ]


def named_scores(name: str, dtype: str, shape: tuple[int | str, ...], meta: Meta) -> Scores:
    """What steps may follow. Raises ConfigError: it is of other numbers, or has no classes."""
    if dtype != "float32" or len(shape) < 2 or any(isinstance(each, str) for each in shape[1:]):
        raise ConfigError(
            f"after: output {name!r} is {dtype} {list(shape)}",
            hint="steps after the network take float scores, (batch, classes) or images of them",
        )
    return Scores(name=name, shape=shape, axis=_classes_axis(shape, meta))


def _classes_axis(shape: tuple[int | str, ...], meta: Meta) -> int:
    """The axis of the classes: the last one, but of an image's pixels that of the channels, which
    is as long as there are names of classes, or lies as in the images that the network takes.
    """
    last = len(shape) - 1
    if len(shape) != 4:
        return last
    named = [axis for axis in (1, last) if shape[axis] == len(meta.labels)]
    if len(named) == 1:
        return named[0]
    takes_rows = meta.preprocessing is not None and meta.preprocessing.layout == "NHWC"
    return last if takes_rows else 1
