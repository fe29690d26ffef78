"""A model's answers, batch by batch, and what they are worth together."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.tasks.heads import ONLY, Head
from edgekiln.models.tasks.metric import Metric
from edgekiln.models.tasks.task import Array, Arrays
from edgekiln.runtime.errors import EdgeKilnError, InputError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One number that judges one head."""

    head: str  # "" where a model has one task
    metric: Metric
    value: float

    @property
    def label(self) -> str:
        """The number's name: "accuracy", or "digit accuracy" of several heads."""
        return f"{self.head} {self.metric.name}".strip()

    @property
    def key(self) -> str:
        """The label as a key of numbers, such as "digit_accuracy"."""
        return self.label.lower().replace(" ", "_")


def outputs_by_head(heads: Sequence[Head], outputs: Mapping[str, T]) -> list[list[T]]:
    """The outputs of each head: all of them where there is one task, else the output of its name.
    Where names are not the heads', outputs are theirs in turn.

    Raises:
        InputError: there are fewer outputs than heads.
    """
    # One task sees them all, in the order in which the model gives them.
    if [head.name for head in heads] == [ONLY]:
        return [list(outputs.values())]
    if all(head.name in outputs for head in heads):
        return [[outputs[head.name]] for head in heads]
    if len(outputs) != len(heads):
        raise InputError(
            f"the model gives {', '.join(outputs)}; the heads are "
            f"{', '.join(head.name for head in heads)}",
            hint="let forward() return a dict of tensors by the heads' names",
        )
    return [[output] for output in outputs.values()]


def in_rows(array: NDArray[np.generic], count: int) -> NDArray[np.generic]:
    """What a call of `count` samples takes or gives, with a row a sample, and floats in float32."""
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    if array.ndim and len(array) == count:
        return array
    return array.reshape(count, -1) if array.size % count == 0 and count > 1 else array[None]


@dataclass
class Tally:
    """What of the answers the heads' measures need.

    Args:
        heads: those that are judged.
    """

    heads: Sequence[Head]
    answers: list[list[Array]] = field(default_factory=list)  # by head, then by batch
    targets: list[list[Array]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.answers = self.answers or [[] for _ in self.heads]
        self.targets = self.targets or [[] for _ in self.heads]

    def add(self, outputs: Sequence[Sequence[Array]], inputs: Arrays, targets: Arrays) -> None:
        """Take in one batch: the outputs of each head, each (N, …)."""
        for place, head in enumerate(self.heads):
            target = targets[head.name]
            with _named(head, "answer"):
                answer = head.task.answer(outputs[place], inputs, target)
            self.answers[place].append(answer)
            self.targets[place].append(target)

    def join(self, others: Sequence["Tally"]) -> "Tally":
        """All of them as one."""
        return Tally(
            heads=self.heads,
            answers=[[b for o in others for b in o.answers[p]] for p in range(len(self.heads))],
            targets=[[b for o in others for b in o.targets[p]] for p in range(len(self.heads))],
        )

    def told(self) -> list[Array]:
        """The answers of each head: (N, …)."""
        return [np.concatenate(each) for each in self.answers]

    def measured(self) -> tuple[Measured, ...]:
        """Every head's numbers.

        Raises:
            InputError: the measure of a user's own task raised, or gave no numbers.
        """
        found = []
        for head, answers, targets in zip(self.heads, self.told(), self.targets, strict=True):
            with _named(head, "measure"):
                values = [float(v) for v in head.task.measure(answers, np.concatenate(targets))]
            metrics = head.task.metrics
            if len(values) != len(metrics):
                raise InputError(
                    f"task {type(head.task).__name__}: measure() gave {len(values)} numbers for "
                    f"{len(metrics)} metrics",
                    hint="return one number for each of `metrics`, in their order",
                )
            found += [
                Measured(head=head.name, metric=metric, value=value)
                for metric, value in zip(metrics, values, strict=True)
            ]
        return tuple(found)


@contextmanager
def _named(head: Head, what: str) -> Iterator[None]:
    """Let an error of a user's own task say whose it is."""
    try:
        yield
    except EdgeKilnError:
        raise
    except Exception as error:
        raise InputError(
            f"task {type(head.task).__name__}: {what}() raised {type(error).__name__}: {error}",
            hint="call it in Python with arrays of these shapes to see where",
        ) from error
