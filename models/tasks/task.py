"""What a task is: a loss, a measure, and how a model's outputs become an answer."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.tasks.metric import Metric
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from edgekiln.models.tasks.motion import Motion

Array = NDArray[np.generic]
Arrays = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class OutputFacts:
    """What of a data set decides the shape of a model's output; no batch axis in any of these."""

    classes: int = 0
    input_shape: tuple[int, ...] = ()  # of the first input, as the model takes it
    target_shape: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LearningTask(ABC):
    """What a model learns, and how that is judged. Derive from it for a task of your own; the
    fields of a dataclass become options.

    A task sees one head of a model: its output tensors, in the model's order, and its targets.
    """

    # Which weights of a training are the best: those with the best first metric, or the least loss
    # where the metric says nothing of validation samples.
    best_by: ClassVar[Literal["metric", "loss"]] = "metric"
    # Whether a head of this task may be several outputs of the model.
    takes_several: ClassVar[bool] = False
    # Whether a target is one class index a sample.
    has_classes: ClassVar[bool] = False
    # Whether a target is about a sample as a whole, wherever things are in it, and a sample made of
    # two is answered by both: its loss is the blend of theirs.
    of_whole_sample: ClassVar[bool] = False

    @property
    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """What `measure` gives. The first one decides which weights are the best."""

    @abstractmethod
    def loss(
        self, outputs: "Sequence[Tensor]", target: "Tensor", inputs: "Mapping[str, Tensor]"
    ) -> "Tensor":
        """The loss of a batch: a scalar, the mean over its samples.

        Args:
            outputs: (N, …) float32, of this task's head.
            target: (N, …), as `checked` leaves them.
            inputs: the batch, by the names of the inputs.
        """

    @abstractmethod
    def measure(self, answers: Array, targets: Array) -> Sequence[float]:
        """One number for each of `metrics`, over all samples.

        Args:
            answers: (N, …), what `answer` gave of each batch.
            targets: (N, …).
        """

    def answer(self, outputs: Sequence[Array], inputs: Arrays, target: Array) -> Array:  # noqa: ARG002
        """What of a batch's outputs is kept for `measure`: (N, …), a row a sample.

        The target is for measures of how likely it was; nothing else may look at it.
        """
        return outputs[0]

    def teacher_loss(
        self, outputs: "Sequence[Tensor]", taught: "Sequence[Tensor]", temperature: float
    ) -> "Tensor":
        """How far the outputs are from a teacher's: a scalar. Mean squared error unless a task
        knows better.
        """
        from torch.nn import functional as F

        del temperature  # it softens probabilities, and these are numbers
        losses = [F.mse_loss(o, t) for o, t in zip(outputs, taught, strict=True)]
        total: Tensor = sum(losses[1:], start=losses[0])
        return total

    def class_logits(self, outputs: "Sequence[Tensor]") -> "Tensor | None":  # noqa: ARG002
        """What tells classes apart, one row each decision: (decisions, classes) logits of which
        one is right; None: the outputs are something else.
        """
        return None

    def checked(self, where: str, targets: Array) -> Array:
        """The targets in the form that `loss` takes. Raises InputError with what is wrong."""
        finite(where, targets)
        return targets

    def classes_in(self, targets: Array) -> int:  # noqa: ARG002
        """How many classes the targets tell apart; 0: it is not about classes."""
        return 0

    def wanted(self, facts: OutputFacts) -> tuple[int | None, ...] | None:  # noqa: ARG002
        """The shape of the head's first output for one sample, None for any extent; None: any."""
        return None

    def accepts(self, shape: tuple[int, ...], facts: OutputFacts) -> bool:
        """Whether a first output of this shape, without the batch axis, is what is wanted."""
        wanted = self.wanted(facts)
        if wanted is None:
            return True
        return len(shape) == len(wanted) and all(
            want in (None, have) for have, want in zip(shape, wanted, strict=True)
        )

    def check_outputs(self, shape: tuple[int, ...], facts: OutputFacts, where: str) -> None:
        """Refuse a first output of this shape, without the batch axis, for judging.

        Args:
            where: the data set, for the message.

        Raises:
            InputError: it is no answer to the targets.
        """
        if not self.accepts(shape, facts):
            raise InputError(
                f"the model gives {shape} for a sample, {where} needs {self.wanted(facts)}",
                hint="give the data the model was trained on",
            )

    def moved(self, target: "Tensor", motion: "Motion") -> "Tensor | None":  # noqa: ARG002
        """The target of images that were moved; None: nobody knows, so images stay as they are."""
        return None

    def can_judge(self, targets: Array) -> bool:  # noqa: ARG002
        """Whether these targets tell how good a model is."""
        return True


def rows(output: Array) -> NDArray[np.float32]:
    """(N, …) as (N, everything else) of float32, whatever type the program gave."""
    return output.reshape(len(output), -1).astype(np.float32, copy=False)


def finite(where: str, targets: Array) -> None:
    """Raise InputError where a target is NaN or infinite, naming the first such sample."""
    if targets.dtype.kind != "f":
        return
    bad = ~np.isfinite(targets.reshape(len(targets), -1)).all(axis=1)
    if bad.any():
        raise InputError(
            f"{where}: the target of sample {int(bad.argmax())} is not finite "
            f"({int(bad.sum())} of {len(targets)} are not)",
            hint="leave these samples out, or fill in what is missing",
        )


def check_outputs_finite(outputs: Sequence[Array]) -> None:
    """Raise InputError where a model's outputs on test samples are NaN."""
    lost = sum(
        int(np.isnan(output.reshape(len(output), -1)).any(axis=1).sum())
        for output in outputs[:1]
        if output.dtype.kind == "f"
    )
    if lost:
        raise InputError(
            f"the model's outputs are NaN on {lost} of {len(outputs[0])} test samples",
            hint="check its weights, and the data's scale, mean and std",
        )


def class_indices(
    where: str, targets: Array, *, ranks: tuple[int, ...], what: str
) -> NDArray[np.int64]:
    """Whole numbers ≥ 0 of one of these ranks, as int64.

    Raises:
        InputError: another type or rank, or a number below 0; `what` describes what is taken.
    """
    if targets.ndim not in ranks or targets.dtype.kind not in "iu":
        raise InputError(
            f"{where}: targets are {targets.dtype} of shape {targets.shape}, expected {what}",
            hint="or say another task: --task regression takes numbers",
        )
    return targets.astype(np.int64)
