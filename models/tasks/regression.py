"""Numbers for each sample."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgekiln.models.tasks.metric import Metric
from edgekiln.models.tasks.task import Array, Arrays, LearningTask, OutputFacts, finite, rows
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Regression(LearningTask):
    """Output and target: (N, …) numbers, in their own unit.

    Args:
        loss_by: the mean squared or absolute error, or Huber's with a bend at 1.
        metric: root of the mean squared error, mean absolute error, or R², the share of the
            variance that is told.
        unit: of the target, for tables.
    """

    metric: Literal["rmse", "mae", "r2"] = "rmse"
    loss_by: Literal["mse", "mae", "huber"] = "mse"
    unit: str = ""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        if self.metric == "r2":
            return (Metric(name="R²"),)
        return (Metric(name=self.metric.upper(), unit=self.unit, better="lower"),)

    def loss(
        self,
        outputs: "Sequence[Tensor]",
        target: "Tensor",
        inputs: "Mapping[str, Tensor]",  # noqa: ARG002
    ) -> "Tensor":
        from torch.nn import functional as F

        by = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.smooth_l1_loss}[self.loss_by]
        return by(outputs[0].reshape(target.shape), target)

    def answer(self, outputs: Sequence[Array], inputs: Arrays, target: Array) -> Array:  # noqa: ARG002
        return rows(outputs[0])

    def measure(self, answers: Array, targets: Array) -> tuple[float]:
        told, true = (rows(each).astype(np.float64) for each in (answers, targets))
        if self.metric == "mae":
            return (float(np.abs(told - true).mean()),)
        squared = float(((told - true) ** 2).mean())
        if self.metric == "rmse":
            return (math.sqrt(squared),)
        variance = ((true - true.mean(axis=0)) ** 2).mean(axis=0)
        errors = ((told - true) ** 2).mean(axis=0)
        # A column without any variance has none to be told.
        told_share = 1 - errors[variance > 0] / variance[variance > 0]
        return (float(told_share.mean()) if len(told_share) else float(not errors.any()),)

    def checked(self, where: str, targets: Array) -> Array:
        if targets.dtype.kind not in "iufb" or not targets.size:
            raise InputError(
                f"{where}: targets are {targets.dtype} of shape {targets.shape}, expected numbers",
                hint="give float32 numbers (N,) or (N, …)",
            )
        with np.errstate(over="ignore"):  # what becomes infinite is refused
            numbers = targets.astype(np.float32)
        finite(where, numbers)
        return numbers[:, None] if numbers.ndim == 1 else numbers

    def wanted(self, facts: OutputFacts) -> tuple[int | None, ...]:
        return facts.target_shape

    def accepts(self, shape: tuple[int, ...], facts: OutputFacts) -> bool:
        return math.prod(shape) == math.prod(facts.target_shape)
