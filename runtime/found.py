"""What a detector found, and what a sequence of classes says, read from outputs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekiln.runtime.manifest import DETECTIONS, SYMBOLS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import TensorSpec


@dataclass(frozen=True, kw_only=True)
class FoundBox:
    """A box around a thing, its score and its class; best first in each sample."""

    sample: int
    name: str  # the class's label, or its number
    number: int  # of the class
    score: float | None  # null where it is no finite number, as the edges
    left: float | None  # in pixels of the picture that the program takes, as all edges
    top: float | None
    right: float | None
    bottom: float | None


def found_in(spec: "TensorSpec", result: "NDArray[np.generic]") -> tuple[FoundBox, ...]:
    """The rows of an output of detections that are there; of another output none."""
    if spec.holds != DETECTIONS or result.ndim != 3 or result.shape[2] != 6:
        return ()
    found = []
    for sample, rows in enumerate(result.tolist()):
        for *numbers, kind in rows:
            if kind < 0:  # it fills up
                continue
            index = int(kind)
            name = spec.labels[index] if index < len(spec.labels) else str(index)
            left, top, right, bottom, score = map(_finite, numbers)
            found.append(
                FoundBox(
                    sample=sample, name=name, number=index, score=score, left=left, top=top,
                    right=right, bottom=bottom,
                )
            )  # fmt: skip
    return tuple(found)


def said_by(spec: "TensorSpec", result: "NDArray[np.generic]") -> tuple[str, ...]:
    """What each sample of an output of symbols says: their names side by side, or, of classes
    without names, their numbers; of another output nothing.
    """
    if spec.holds != SYMBOLS or result.ndim != 2:
        return ()
    count, between = len(spec.labels), "" if spec.labels else " "
    return tuple(
        between.join(spec.labels[n] if n < count else str(n) for n in row if n >= 0)
        for row in result.tolist()
    )


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
