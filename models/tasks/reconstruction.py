"""Give back the input: autoencoders, whose error tells what is unusual."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from edgekiln.models.tasks.metric import AUC, Metric
from edgekiln.models.tasks.ranking import area_under_curve
from edgekiln.models.tasks.task import Array, Arrays, LearningTask, OutputFacts, class_indices, rows
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Reconstruction(LearningTask):
    """Output: the first input again. Mean squared error; the AUC with which a sample's error tells
    anomalies, target 1, from normal samples, target 0. It is trained on normal ones.
    """

    best_by: ClassVar[Literal["metric", "loss"]] = "loss"  # validation samples are all normal

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (AUC,)

    def loss(
        self,
        outputs: "Sequence[Tensor]",
        target: "Tensor",  # noqa: ARG002
        inputs: "Mapping[str, Tensor]",
    ) -> "Tensor":
        from torch.nn import functional as F

        return F.mse_loss(outputs[0], next(iter(inputs.values())))

    def answer(self, outputs: Sequence[Array], inputs: Arrays, target: Array) -> Array:  # noqa: ARG002
        return reconstruction_errors(next(iter(inputs.values())), rows(outputs[0]))

    def measure(self, answers: Array, targets: Array) -> tuple[float]:
        scores = answers.astype(np.float32, copy=False)
        return (area_under_curve(scores, targets.astype(np.int64) != 0),)

    def checked(self, where: str, targets: Array) -> Array:
        return class_indices(where, targets, ranks=(1,), what="0 (normal) and 1 of shape (N,)")

    def wanted(self, facts: OutputFacts) -> tuple[int | None, ...]:
        return facts.input_shape

    def check_outputs(self, shape: tuple[int, ...], facts: OutputFacts, where: str) -> None:
        pass  # `answer` says it, with the size of the input

    def can_judge(self, targets: Array) -> bool:
        return len(np.unique(targets)) > 1


def reconstruction_errors(x: Array, y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean squared reconstruction error of each sample: (N,).

    Raises:
        InputError: `y`, (N, features), has another size than `x`.
    """
    flat = rows(x)
    if flat.shape != y.shape:
        raise InputError(f"the model turns {flat.shape[1:]} into {y.shape[1:]}: no reconstruction")
    errors: NDArray[np.float32] = np.mean((flat - y) ** 2, axis=1, dtype=np.float32)
    return errors
