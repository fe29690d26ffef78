"""Whose a trial under way is: as long as its worker lives, that one's."""

import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.pipeline import locks

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

WORKER = "worker"  # attribute of a trial
_ASKING_S = 60.0  # longer than a worker takes to say which trial is its own


def worker_of(lock: Path) -> Mapping[str, str]:
    """What a worker says of itself that holds `lock` until it ends, however it ends."""
    return {"host": platform.node(), "lock": str(lock)}


def is_lost(trial: "FrozenTrial") -> bool:
    """Whether the worker of a trial under way was on this machine and is no more."""
    worker = trial.user_attrs.get(WORKER)
    if worker is None:  # it was killed between the two, or is just about to say who it is
        begun = trial.datetime_start
        return bool(time.time() - begun.timestamp() > _ASKING_S)
    if worker["host"] != platform.node():
        return False
    try:
        with locks.try_exclusive(Path(worker["lock"])) as free:
            return free
    except OSError:  # the store is gone, and with it whoever used it
        return True
