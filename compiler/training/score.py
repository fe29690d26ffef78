"""How good a network is on a split."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekiln.compiler.training.checkpoint import State
from edgekiln.compiler.training.distributed import World
from edgekiln.compiler.training.loss import Objective
from edgekiln.models.tasks.heads import Head
from edgekiln.models.tasks.tally import Measured, Tally, outputs_by_head
from edgekiln.models.tasks.task import Array

if TYPE_CHECKING:
    from torch import Tensor

    from edgekiln.compiler.training.batch import Batch
    from edgekiln.compiler.training.batches import Batches

    Predict = Callable[[Batch], Mapping[str, Tensor]]


@dataclass(frozen=True)
class SplitScore:
    """How good a network is on one split."""

    loss: float  # the tasks' own, the mean over the samples, without smoothing and a teacher
    # What the tasks measure; of several tasks none is above the other, and the loss decides.
    measured: tuple[Measured, ...] = ()

    @property
    def decisive(self) -> Measured | None:
        """The measure that decides which of two networks is the better one; None: the loss does."""
        return self.measured[0] if len({each.head for each in self.measured}) == 1 else None

    @property
    def value(self) -> float:
        """A number that is higher where a network is better."""
        if (best := self.decisive) is None:
            return -self.loss
        return best.value if best.metric.better == "higher" else -best.value

    def metrics(self, split: str, suffix: str = "") -> dict[str, float]:
        """Name the numbers for the report, e.g. {"val_loss": 0.1, "val_accuracy": 0.97}."""
        found = {f"{split}_loss{suffix}": self.loss}
        return found | {f"{split}_{each.key}{suffix}": each.value for each in self.measured}

    def is_worse_than(self, other: "SplitScore", margin: float) -> bool:
        """Whether the share that decides is lower by more than `margin`, or what else decides
        worse by more than that part of it.
        """
        ours, theirs = self.decisive, other.decisive
        if ours is None or theirs is None:
            return self.loss > (1 + margin) * other.loss
        return ours.metric.lost(theirs.value, ours.value) > 100 * margin

    def numbers(self) -> State:
        """The plain numbers, for a checkpoint."""
        return {"loss": self.loss, "values": {each.label: each.value for each in self.measured}}

    @classmethod
    def of_numbers(cls, saved: State, heads: Sequence[Head]) -> "SplitScore":
        """The score that `numbers` came from, of a network with these heads."""
        known = [
            Measured(head=head.name, metric=metric, value=0.0)
            for head in heads
            for metric in head.task.metrics
        ]
        values = saved["values"]
        found = (replace(each, value=values[each.label]) for each in known if each.label in values)
        return cls(saved["loss"], tuple(found))

    def __str__(self) -> str:
        if not self.measured:
            return f"{self.loss:.4g}"
        if self.measured[0].metric.name == "accuracy" and len(self.measured) == 1:
            return f"{100 * self.measured[0].value:.1f} %"
        return ", ".join(f"{each.label} {each.metric.shown(each.value)}" for each in self.measured)


def judging(heads: Sequence[Head]) -> list[Head]:
    """The heads that can be measured while a network is trained."""
    return [head for head in heads if head.task.best_by == "metric"]


def score(
    predict: "Predict",
    batches: "Batches",
    objective: Objective,
    world: World = World(),  # noqa: B008 -- immutable
) -> SplitScore:
    """Run `predict` over all samples; each rank its part, the same result on every rank."""
    import torch

    # The same loss whatever the training's options, so that scores of two trainings compare.
    plain = Objective(task=objective.task)
    heads = [
        head
        for head in judging(plain.heads)
        if head.task.can_judge(batches.split.targets[head.name])
    ]
    tally = Tally(heads)
    sums = torch.zeros(2, dtype=torch.float64, device=world.device)  # loss, samples
    with torch.no_grad():
        for given in batches.in_order():
            batch = given.to(world.device)
            outputs = predict(batch)
            sums[0] += plain(outputs, batch).double() * len(batch)
            sums[1] += len(batch)
            if heads:
                own = outputs_by_head(plain.heads, outputs)
                by_name = {h.name: o for h, o in zip(plain.heads, own, strict=True)}
                tally.add(
                    [[_array(each) for each in by_name[head.name]] for head in heads],
                    {name: tensor.numpy() for name, tensor in given.inputs.items()},
                    {name: tensor.numpy() for name, tensor in given.targets.items()},
                )
    loss, samples = world.total(sums).tolist()
    if not heads:
        return SplitScore(loss / samples)
    whole = tally.join(world.gathered(tally)) if world.size > 1 else tally
    return SplitScore(loss / samples, whole.measured())


def _array(output: "Tensor") -> Array:
    """An output as a program would give it."""
    real = output.float() if output.is_floating_point() else output
    array: Array = real.cpu().numpy()
    return array
