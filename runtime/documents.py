"""What is printed as JSON, one type a document; `schemas/` describes each to other programs."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from edgekiln.runtime.codec import encode
from edgekiln.runtime.found import FoundBox, found_in, said_by
from edgekiln.runtime.hints import ABSENT_WHEN_EMPTY
from edgekiln.runtime.results import BenchResult
from edgekiln.runtime.text import labelled_rows, named_classes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import TensorSpec


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output of a program, all samples; `answers` are a classifier's best classes, or the texts
    that a sequence of classes says.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    values: Any  # nested lists, or one number; null for what is no finite number
    # One a sample: the label of the largest value, none without labels; of symbols what they say.
    answers: tuple[str, ...]
    # Of a detector's output, all samples.
    detections: tuple[FoundBox, ...] = field(default=(), metadata=ABSENT_WHEN_EMPTY)

    @classmethod
    def of(cls, spec: "TensorSpec", result: "NDArray[np.generic]") -> Self:
        values = result
        best = [spec.labels[row.argmax()] for row in labelled_rows(spec, result)]
        if result.dtype.kind == "f" and not np.isfinite(result).all():
            values = np.where(np.isfinite(result), result.astype(object), np.array(None))
        return cls(
            name=spec.name,
            shape=result.shape,
            dtype=str(result.dtype),
            values=values.tolist(),
            answers=said_by(spec, result)
            or tuple(best or (row[0] for row in named_classes(spec, result))),
            detections=found_in(spec, result),
        )


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a bundle computed."""

    bundle: str
    outputs: tuple[Output, ...]


@dataclass(frozen=True, kw_only=True)
class Benches:
    """The bundle's measurement, then those of ONNX Runtime beside it."""

    results: tuple[BenchResult, ...]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The example's outputs, all of them equal to the expected ones."""

    bundle: str
    equal: tuple[str, ...]


def document(schema: str, content: object) -> str:
    """JSON text of a document; `schema` is its name and version, e.g. "edgekiln.run/1"."""
    data = {"schema": schema, **encode(content)}
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
