"""The fit loop: one for distillation, plain training and recovery after a cut."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.pipeline.stage import Advance, OnEpoch, silent, unwatched
from edgekiln.compiler.training import checkpoint, optimizer, precision
from edgekiln.compiler.training.assess import outputs_of
from edgekiln.compiler.training.batches import Augment, Batch, Batches
from edgekiln.compiler.training.best import Best
from edgekiln.compiler.training.checkpoint import State
from edgekiln.compiler.training.distributed import World, join
from edgekiln.compiler.training.ema import Ema
from edgekiln.compiler.training.logs import tensorboard
from edgekiln.compiler.training.loss import Objective
from edgekiln.compiler.training.optimizer import OptimizerName
from edgekiln.compiler.training.precision import Precision
from edgekiln.compiler.training.reproducible import reproducible, seed_everything
from edgekiln.compiler.training.schedule import learning_rate
from edgekiln.compiler.training.score import SplitScore, score
from edgekiln.models.module_ends import named_outputs
from edgekiln.runtime.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgekiln.models.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How to train. `ema` 0: no averaging; `patience` 0: no early stopping."""

    epochs: int
    batch_size: int = 64
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup_epochs: float = 1.0
    ema: float = 0.99
    clip: float = 1.0  # largest norm of all gradients together
    patience: int = 0
    augment: Augment = field(default_factory=Augment)
    precision: Precision = "float32"
    seed: int = 0
    # False: the last epoch's weights are kept, whatever the validation split says of them.
    keep_best: bool = True


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What came of a training."""

    epochs: int  # run, of those asked for
    best_epoch: int  # counted from 1, its weights were kept; 0: those that training began with
    start: SplitScore  # of the weights that training began with, on the validation split
    score: SplitScore  # of the kept weights, likewise: never worse
    precision: Precision


def fit(
    module: "nn.Module",
    data: "Dataset",
    objective: Objective,
    options: FitOptions,
    *,
    checkpoint_path: Path,
    teacher: "nn.Module | None" = None,
    advance: Advance = silent,
    on_epoch: OnEpoch = unwatched,
    logs: Path | None = None,
) -> FitResult:
    """Train `module` in place; it ends with the weights of the epoch best on the validation split.

    Those weights are the moving average when there is one, and those it began with when no epoch
    was better. Every epoch ends in a checkpoint; a killed training started again from the same
    weights and options ends in the same bits.

    Raises:
        TrainingError: the loss is no longer finite.
        InputError: the checkpoint is damaged.
    """
    world = join()
    with reproducible():
        seed_everything(options.seed)
        run = _Run(module, data, objective, options, teacher=teacher, world=world)
        run.resume(checkpoint_path)
        with tensorboard(logs if world.rank == 0 else None, start=run.epoch + 1) as log:
            while not run.finished:
                log(run.epoch + 1, run.one_epoch(advance))
                if world.rank == 0:
                    checkpoint.save(checkpoint_path, run.state())
                # Nobody goes on before the checkpoint is written.
                world.wait()
                on_epoch(run.epoch, run.latest.value)
        return run.finish()


class _Run:
    """A training under way. Its whole state between two epochs is `state()`."""

    def __init__(
        self,
        module: "nn.Module",
        data: "Dataset",
        objective: Objective,
        options: FitOptions,
        *,
        teacher: "nn.Module | None",
        world: World,
    ) -> None:
        self.options, self.objective, self.world = options, objective, world
        self.module = module.to(world.device)
        self.parallel = world.wrap(self.module)  # starts from rank 0's weights
        self.teacher = teacher.to(world.device).eval() if teacher is not None else None
        self.optimizer = optimizer.make(
            options.optimizer,
            module,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
        )
        self.ema = Ema(module, options.ema)
        self.validation = Batches(
            split=data.val,
            preprocessing=data.preprocessing,
            batch_size=options.batch_size,
            heads=objective.heads,
            rank=world.rank,
            size=world.size,
        )
        self.training = replace(
            self.validation, split=data.train, seed=options.seed, augment=options.augment
        )
        self.epoch = 0
        self.start = self.latest = SplitScore(math.nan)
        self.best = Best()
        self.precision: Precision = options.precision

    @property
    def finished(self) -> bool:
        """All epochs done, or no better for `patience` of them."""
        patience = self.options.patience
        stale = patience > 0 and self.epoch - self.best.improved >= patience
        # All ranks come to `any` or none does: the epoch is the same on each.
        return self.epoch >= self.options.epochs or self.world.any(stale)

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint, or settle what a fresh start has to."""
        if saved := checkpoint.load(path):
            self.module.load_state_dict(saved["model"])
            self.ema.load_state_dict(saved["ema"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.epoch, self.precision = saved["epoch"], saved["precision"]
            self.best = Best.restored(saved["best"], self.objective.heads)
            self.start = SplitScore.of_numbers(saved["start"], self.objective.heads)
            return
        # What training begins with is a candidate, so that no training makes a model worse.
        self.start = self._validate()
        if math.isfinite(self.start.loss):
            self.best.offer(self.start, 0, self._kept())
        if self.precision == "auto":
            batch = next(self.training.training(0)).to(self.world.device)
            chosen = precision.faster(self.module, *batch.arguments)
            # One rank's slow moment must not make it train in another precision than the rest.
            self.precision = "float32" if self.world.any(chosen == "float32") else "bf16"

    def state(self) -> State:
        """All that `resume` needs; generators are seeded anew each epoch."""
        return {
            "model": self.module.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "precision": self.precision,
            "best": self.best.state_dict(),
            "start": self.start.numbers(),
        }

    def one_epoch(self, advance: Advance) -> Mapping[str, float]:
        """Train an epoch and measure it; returns what to log."""
        # Anew in each epoch, so that one that goes on after a kill draws the same numbers.
        seed_everything(self.options.seed, self.epoch, self.world.rank)
        loss = self._train(advance)
        self.epoch += 1
        # Batch norm saw other samples on every rank; rank 0's statistics count.
        self.world.share(self.module.state_dict().values())
        self.world.share(self.ema.state.values())
        current = self.latest = self._validate()
        if not math.isfinite(current.loss):
            raise self._diverged("validation loss", current.loss, self.epoch, len(self.training))
        self.best.offer(current, self.epoch, self._kept())
        logged = {
            "loss/train": loss,
            "loss/val": current.loss,
            "learning_rate": self._rate(self.epoch * len(self.training) - 1),
        }
        logged |= {f"{each.key}/val": each.value for each in current.measured}
        self._tell(advance, 0, loss, current)
        return logged

    def finish(self) -> FitResult:
        """Put the best weights into the module, on the CPU, in evaluation mode."""
        if self.best.state:
            kept = self.best.state if self.options.keep_best else self._kept()
            self.module.load_state_dict(kept)
        self.module.cpu().eval()
        if self.teacher is not None:
            self.teacher.cpu()
        return FitResult(
            epochs=self.epoch,
            best_epoch=self.best.epoch,
            start=self.start,
            score=self.best.score,
            precision=self.precision,
        )

    def _train(self, advance: Advance) -> float:
        """One pass over the training split; returns the mean loss."""
        self.module.train()
        total = 0.0
        for step, batch in enumerate(self.training.training(self.epoch)):
            rate = self._rate(self.epoch * len(self.training) + step)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss = self._step(batch.to(self.world.device))
            if not math.isfinite(loss):
                raise self._diverged("loss", loss, self.epoch + 1, step + 1)
            total += loss
            self._tell(advance, step + 1, total / (step + 1), None)
        return total / len(self.training)

    def _loss(self, batch: Batch) -> "Tensor":
        import torch

        with precision.autocast(self.precision, self.world.device):
            if self.objective.step is not None:
                return self.objective.step(self.parallel, batch)
            with torch.no_grad():
                taught = outputs_of(self.teacher, batch) if self.teacher is not None else None
            outputs = outputs_of(self.parallel, batch)
        return self.objective(outputs, batch, taught)

    def _step(self, batch: Batch) -> float:
        """One update; returns its loss, the mean over all ranks."""
        import torch

        loss = self._loss(batch)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        value = float(self.world.total(loss.detach().clone())) / self.world.size
        # A loss that is no number would make all weights NaN.
        if math.isfinite(value):
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.options.clip)
            self.optimizer.step()
            if self.options.ema:
                self.ema.update(self.module)
        return value

    def _kept(self) -> dict[str, "Tensor"]:
        return self.ema.state if self.options.ema else self.module.state_dict()

    def _validate(self) -> SplitScore:
        from torch.func import functional_call

        self.module.eval()
        answer = partial(functional_call, self.module, self._kept())
        return score(
            lambda batch: named_outputs(answer(batch.arguments), "the module"),
            self.validation, self.objective, self.world,
        )  # fmt: skip

    def _rate(self, step: int) -> float:
        """The learning rate of a step, counted from the first epoch's start."""
        steps = len(self.training)
        return learning_rate(
            step,
            peak=self.options.learning_rate,
            total=self.options.epochs * steps,
            warmup=round(self.options.warmup_epochs * steps),
        )

    def _tell(self, advance: Advance, step: int, loss: float, current: SplitScore | None) -> None:
        steps = len(self.training)
        epoch = self.epoch if current else self.epoch + 1
        last = current or (self.best.score if self.best.epoch else None)
        text = f"epoch {epoch}/{self.options.epochs}  loss {loss:.3f}"
        advance(
            self.epoch * steps + step,
            self.options.epochs * steps,
            f"{text}  val {last}" if last else text,
        )

    def _diverged(self, what: str, value: float, epoch: int, step: int) -> TrainingError:
        return TrainingError(
            f"training diverged: {what} is {value} at epoch {epoch}, step {step}, "
            f"learning rate {self._rate((epoch - 1) * len(self.training) + step - 1):.3g}",
            hint=f"lower --learning-rate, e.g. to {self.options.learning_rate / 10:.3g}, "
            "or raise --warmup-epochs",
        )
