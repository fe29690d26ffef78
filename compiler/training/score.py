"""How good a network is on a split."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekiln.compiler.training.distributed import World
from edgekiln.compiler.training.loss import Objective

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from edgekiln.compiler.training.batches import Batches


@dataclass(frozen=True)
class SplitScore:
    """How good a network is on one split: means over its samples."""

    loss: float  # the task's own, without smoothing and without a teacher
    accuracy: float | None  # None where there are no classes

    @property
    def value(self) -> float:
        """Higher is better."""
        return -self.loss if self.accuracy is None else self.accuracy

    def metrics(self, split: str, suffix: str = "") -> dict[str, float]:
        """Name the numbers for the report, e.g. {"val_loss": 0.1, "val_accuracy": 0.97}."""
        found = {f"{split}_loss{suffix}": self.loss}
        if self.accuracy is not None:
            found[f"{split}_accuracy{suffix}"] = self.accuracy
        return found

    def is_worse_than(self, other: "SplitScore", margin: float) -> bool:
        """Whether accuracy is lower by more than `margin`, or the loss greater by that share."""
        if self.accuracy is None or other.accuracy is None:
            return self.loss > (1 + margin) * other.loss
        return self.accuracy < other.accuracy - margin

    def __str__(self) -> str:
        return f"{self.loss:.4g}" if self.accuracy is None else f"{100 * self.accuracy:.1f} %"


def score(
    predict: "Callable[[Tensor], Tensor]",
    batches: "Batches",
    objective: Objective,
    world: World = World(),  # noqa: B008 -- immutable
) -> SplitScore:
    """Run `predict` over all samples; each rank its part, the same result on every rank."""
    import torch

    # The same loss whatever the training's options, so that scores of two trainings compare.
    plain = Objective(task=objective.task)
    sums = torch.zeros(3, dtype=torch.float64, device=world.device)  # loss, correct, samples
    with torch.no_grad():
        for batch_x, batch_y in batches.in_order():
            x, y = batch_x.to(world.device), batch_y.to(world.device)
            output = predict(x)
            sums[0] += plain(output, x, y, None).double() * len(x)
            if objective.task == "classification":
                sums[1] += (output.argmax(dim=1) == y).sum()
            sums[2] += len(x)
    loss, correct, samples = world.total(sums).tolist()
    accuracy = correct / samples if objective.task == "classification" else None
    return SplitScore(loss / samples, accuracy)
