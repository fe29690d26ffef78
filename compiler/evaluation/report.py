"""How good a model is: what an evaluation reports, and how it is computed from the answers."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.tasks.heads import Head
from edgekiln.models.tasks.tally import Measured, Tally, in_rows, outputs_by_head
from edgekiln.models.tasks.task import Arrays, OutputFacts
from edgekiln.runtime.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a model takes, whatever it is worth."""

    parameters: int | None  # None for a compiled program
    macs: int  # of one sample
    file_bytes: int  # of a compiled program: code and weights


@dataclass(frozen=True, kw_only=True)
class Evaluation(Costs):
    """The report of one model on held-out samples: the test split, or that for choices."""

    measured: tuple[Measured, ...]  # of each head, the metrics of its task
    n: int  # samples
    of: int  # samples in the split; more than `n`, where an emulator takes too long
    predictions_sha256: str


class Examination:
    """A model's answers to the first samples of a split, batch by batch."""

    def __init__(
        self, name: str, heads: Sequence[Head], facts: Mapping[str, OutputFacts], targets: Arrays
    ) -> None:
        """Begin with no answers.

        Args:
            name: of the data set.
            facts: of each head, by name.
            targets: of the whole split: (N, …) by head.
        """
        self._name = name
        self._heads, self._facts, self._targets = heads, facts, targets
        self._tally = Tally(heads)
        self._count = self._lost = 0

    def add(self, outputs: Mapping[str, NDArray[np.generic]], inputs: Arrays, count: int) -> None:
        """Take in the outputs for the next `count` samples, and the inputs they are for.

        Raises:
            InputError: they are no answers to the targets.
        """
        own = [
            [in_rows(each, count) for each in of_head]
            for of_head in outputs_by_head(self._heads, outputs)
        ]
        for head, told in zip(self._heads, own, strict=True):
            if head.task.has_classes and told[0].dtype == np.int64:
                raise InputError(
                    "the model answers by numbers of classes and gives no score for each",
                    hint="judge it before it got its last step, such as --after top-k",
                )
            head.task.check_outputs(told[0].shape[1:], self._facts[head.name], self._name)
        self._lost += int(np.any([holding_nan(told) for told in own], axis=0).sum())
        part = slice(self._count, self._count + count)
        self._count += count
        rows = {name: in_rows(x, count) for name, x in inputs.items()}
        self._tally.add(own, rows, {name: y[part] for name, y in self._targets.items()})

    def report(self, costs: Costs) -> Evaluation:
        """Judge the answers.

        Raises:
            InputError: there is NaN among the outputs, or the targets do not tell how good any
                answer is.
        """
        check_numbers(self._lost, self._count)
        digest = hashlib.sha256()
        for answers in self._tally.told():
            digest.update(np.ascontiguousarray(answers).data)
        return Evaluation(
            parameters=costs.parameters,
            macs=costs.macs,
            file_bytes=costs.file_bytes,
            measured=self._tally.measured(),
            n=self._count,
            of=len(next(iter(self._targets.values()))),
            predictions_sha256=digest.hexdigest(),
        )


def check_numbers(lost: int, count: int) -> None:
    """Raise InputError where of `count` held-out samples some are lost: an output of theirs is NaN,
    about which no measure says anything.
    """
    if lost:
        raise InputError(
            f"the model's outputs are NaN on {lost} of {count} held-out samples",
            hint="check its weights, and the data's scale, mean and std",
        )


def holding_nan(outputs: Sequence[NDArray[np.generic]]) -> NDArray[np.bool_]:
    """Which samples have NaN in an output."""
    found = np.zeros(len(outputs[0]), bool)
    for output in outputs:
        if output.dtype.kind == "f":
            found |= np.isnan(output.reshape(len(output), -1)).any(axis=1)
    return found
