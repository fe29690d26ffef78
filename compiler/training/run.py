"""A training under way, epoch by epoch."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.pipeline.stage import Advance
from edgekiln.compiler.training import checkpoint, optimizer, precision
from edgekiln.compiler.training.assess import outputs_of
from edgekiln.compiler.training.batch import Batch
from edgekiln.compiler.training.batches import Batches
from edgekiln.compiler.training.best import Best
from edgekiln.compiler.training.checkpoint import State
from edgekiln.compiler.training.classroom import Classroom, Teaching
from edgekiln.compiler.training.distributed import World
from edgekiln.compiler.training.ema import Ema
from edgekiln.compiler.training.gradients import differentiate
from edgekiln.compiler.training.loss import Objective
from edgekiln.compiler.training.memory import set_channels_last, takes_channels_last
from edgekiln.compiler.training.options import FitOptions
from edgekiln.compiler.training.reproducible import seed_everything
from edgekiln.compiler.training.result import FitResult
from edgekiln.compiler.training.schedule import Plateau, learning_rate
from edgekiln.compiler.training.score import SplitScore, score
from edgekiln.models.interface import samples_of
from edgekiln.models.module_ends import named_outputs
from edgekiln.runtime.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn

    from edgekiln.compiler.training.precision import Precision
    from edgekiln.models.data.dataset import Dataset

# Batches that are only measured may be larger: up to so many numbers of input, or samples.
_MOST_NUMBERS, _MOST_SAMPLES = 2**20, 512


class Run:
    """A training under way. Its whole state between two epochs is `state()`."""

    def __init__(
        self,
        module: "nn.Module",
        data: "Dataset",
        objective: Objective,
        options: FitOptions,
        *,
        teaching: Teaching,
        world: World,
    ) -> None:
        self.options, self.objective, self.world = options, objective, world
        self.data = data.fingerprint
        self.module = module.to(world.device)
        samples = [sample.to(world.device) for sample in samples_of(data, 2)]
        networks = [self.module, *(each.to(world.device).eval() for each in teaching.networks)]
        self.channels_last = self._takes_channels_last(networks, samples)
        for network in networks:
            set_channels_last(network, to=self.channels_last)
        self.ema = Ema(module, options.ema)
        self.classroom = Classroom(teaching, self.module, self.ema, samples, world.device)
        self.parallel = world.wrap(self.classroom.learner)  # starts from rank 0's weights
        self.optimizer = optimizer.make(
            options.optimizer,
            self.classroom.learner,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
        )
        self.validation = Batches(
            split=data.val,
            preprocessing=data.preprocessing,
            batch_size=_validation_batch(options.batch_size, data),
            heads=objective.heads,
            channels_last=self.channels_last,
            rank=world.rank,
            size=world.size,
        )
        self.training = replace(
            self.validation,
            split=data.train,
            batch_size=options.batch_size,
            seed=options.seed,
        )
        self.plateau = Plateau()
        self.epoch = 0
        self.history: list[Mapping[str, float]] = []
        self.start = self.latest = SplitScore(math.nan)
        self.best = Best()
        self.precision: Precision = options.precision

    def _takes_channels_last(
        self, networks: "Sequence[nn.Module]", samples: "Sequence[Tensor]"
    ) -> bool:
        """Whether all that sees the batches takes images in that order."""
        own = self.objective.step is not None or any(
            phase.augment.own is not None for phase in self.options.all_phases
        )
        if own:  # a user's function may view its tensors as others
            return False
        return all(takes_channels_last(network, *samples) for network in networks)

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
            self.classroom.load_state_dict(saved["classroom"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.epoch, self.precision = saved["epoch"], saved["precision"]
            self.plateau = Plateau.restored(saved["plateau"])
            self.history = saved["history"]
            self.best = Best.restored(saved["best"], self.objective.heads)
            self.start = SplitScore.of_numbers(saved["start"], self.objective.heads)
            return
        # What training begins with is a candidate, so that no training makes a model worse.
        self.start = self._validate()
        if math.isfinite(self.start.loss):
            self.best.offer(self.start, 0, self._kept())
        if self.precision == "auto":
            batch = next(self._batches(0)).to(self.world.device)
            chosen = precision.faster(self.module, *batch.arguments)
            # One rank's slow moment must not make it train in another precision than the rest.
            self.precision = "float32" if self.world.any(chosen == "float32") else "bf16"

    def state(self) -> State:
        """All that `resume` needs; generators are seeded anew each epoch."""
        return {
            "model": self.module.state_dict(),
            "ema": self.ema.state_dict(),
            "classroom": self.classroom.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "precision": self.precision,
            "plateau": self.plateau.state_dict(),
            "history": self.history,
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
        rate = self._rate(self.epoch * len(self.training) - 1)
        self.plateau.after(self.epoch, self.best.improved)
        logged = {
            "loss/train": loss,
            "loss/val": current.loss,
            "learning_rate": rate,
        }
        logged |= {f"{each.key}/val": each.value for each in current.measured}
        self.history.append(logged)
        self._tell(advance, 0, loss, current)
        return logged

    def finish(self) -> FitResult:
        """Put the best weights into the module, on the CPU, in evaluation mode."""
        if self.best.state:
            kept = self.best.state if self.options.keep_best else self._kept()
            self.module.load_state_dict(kept)
        self.module.eval()
        for network in self.classroom.dismissed():
            set_channels_last(network.cpu(), to=False)
        return FitResult(
            epochs=self.epoch,
            best_epoch=self.best.epoch,
            start=self.start,
            score=self.best.score,
            precision=self.precision,
            history=self.history,
        )

    def _train(self, advance: Advance) -> float:
        """One pass over the training split; returns the mean loss."""
        self.classroom.learner.train()
        total = 0.0
        for step, batch in enumerate(self._batches(self.epoch)):
            done = self.epoch * len(self.training) + step
            self.optimizer.set_rate(self._rate(done))
            progress = done / max(1, self.options.epochs * len(self.training) - 1)
            loss = self._step(batch.to(self.world.device), progress)
            if not math.isfinite(loss):
                raise self._diverged("loss", loss, self.epoch + 1, step + 1)
            total += loss
            self._tell(advance, step + 1, total / (step + 1), None)
        return total / len(self.training)

    def _batches(self, epoch: int) -> "Iterator[Batch]":
        """The training batches of an epoch, changed as its phase says."""
        phase = self.options.phase_at(epoch)
        batches = replace(self.training, augment=phase.augment, resolution=phase.resolution)
        return self.classroom.batches(batches, self.data, epoch, self.precision)

    def _loss(self, batch: Batch, progress: float) -> "Tensor":
        with precision.autocast(self.precision, self.world.device):
            if self.objective.step is not None:
                return self.objective.penalized(self.objective.step(self.parallel, batch))
            taught = self.classroom.taught(batch)
            outputs = outputs_of(self.parallel, batch)
        return self.objective.penalized(self.objective(outputs, batch, taught, progress))

    def _step(self, batch: Batch, progress: float) -> float:
        """One update; returns its loss, the mean over all ranks."""
        import torch

        loss = self._loss(batch, progress)
        self.optimizer.zero_grad()
        differentiate(loss)
        value = float(self.world.total(loss.detach().clone())) / self.world.size
        # A loss that is no number would make all weights NaN.
        if math.isfinite(value):
            if self.options.clip:
                torch.nn.utils.clip_grad_norm_(
                    self.classroom.learner.parameters(), self.options.clip
                )
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
        course = self.options.course_at(step // steps)
        rate = learning_rate(
            step - course.start * steps,
            peak=course.peak,
            total=course.epochs * steps,
            warmup=round(self.options.warmup_epochs * steps),
            schedule=self.options.schedule,
        )
        return rate * self.plateau.factor

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


def _validation_batch(batch_size: int, data: "Dataset") -> int:
    """How many samples a batch that is only measured has: at least as many as one to learn from."""
    numbers = max(1, math.prod(data.input_shape))
    return max(batch_size, min(_MOST_NUMBERS // numbers, _MOST_SAMPLES))
