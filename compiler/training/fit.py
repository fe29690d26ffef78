"""The fit loop: one for distillation, plain training and recovery after a cut."""

from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.pipeline.stage import Advance, OnEpoch, silent, unwatched
from edgekiln.compiler.training import checkpoint
from edgekiln.compiler.training.augment import check_augment
from edgekiln.compiler.training.classroom import Teaching
from edgekiln.compiler.training.distributed import join
from edgekiln.compiler.training.logs import tensorboard
from edgekiln.compiler.training.loss import Objective
from edgekiln.compiler.training.options import FitOptions
from edgekiln.compiler.training.reproducible import reproducible, seed_everything
from edgekiln.compiler.training.resolution import check_resolution
from edgekiln.compiler.training.result import FitResult
from edgekiln.compiler.training.run import Run

if TYPE_CHECKING:
    from torch import nn

    from edgekiln.models.data.dataset import Dataset


def fit(
    module: "nn.Module",
    data: "Dataset",
    objective: Objective,
    options: FitOptions,
    *,
    checkpoint_path: Path,
    teaching: Teaching = Teaching(),  # noqa: B008 -- immutable
    advance: Advance = silent,
    on_epoch: OnEpoch = unwatched,
    logs: Path | None = None,
) -> FitResult:
    """Train `module` in place; it ends with the weights of the epoch best on the validation split.

    Those weights are the moving average when there is one, and those it began with when no epoch
    was better. Every epoch ends in a checkpoint; a killed training started again from the same
    weights and options ends in the same bits.

    Raises:
        ConfigError: these samples or tasks cannot be changed as `options` say.
        TrainingError: the loss is no longer finite, or another process is gone.
        InputError: the checkpoint is damaged.
    """
    for phase in options.all_phases:
        own_loss = objective.step is not None
        check_augment(phase.augment, data.train, objective.heads, own=own_loss)
        check_resolution(module, data, phase.resolution)
    world = join()
    with reproducible(), world.together():
        seed_everything(options.seed)
        run = Run(module, data, objective, options, teaching=teaching, world=world)
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
