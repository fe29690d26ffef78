"""Trials one after the other, until the study has as many as were asked for."""

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from edgekiln.compiler.pipeline.ranks import cores_each
from edgekiln.compiler.pipeline.remote_store import open_store
from edgekiln.compiler.pipeline.stage import OnEpoch
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.sweep.plan import SweepPlan
from edgekiln.compiler.sweep.study import Claim, SharedStudy
from edgekiln.compiler.sweep.trial import Tell, run_trial
from edgekiln.runtime.errors import (
    AccuracyError,
    ConfigError,
    EdgeKilnError,
    GateError,
    MeasurementError,
    TrainingError,
    UnsupportedError,
)
from edgekiln.runtime.termination import sent_again

# What says something about the values that were tried. Whatever else is raised would be raised by
# the next trial, too.
_OF_VALUES = (
    AccuracyError,
    ConfigError,
    GateError,
    MeasurementError,
    TrainingError,
    UnsupportedError,
)


class HopelessError(Exception):
    """A trial that is not worth its remaining epochs."""


def work(plan: SweepPlan, store: Store, study: SharedStudy, tell: Tell) -> None:
    """Run trials until there is none left to claim.

    Raises:
        EdgeKilnError: what would end every trial: no disk space, no data, no compiler.
    """
    while True:
        with study.claim() as claim:
            if claim is None:
                return
            _run(plan, store, study, claim, tell)


def work_apart(plan: SweepPlan, store_url: str) -> EdgeKilnError | None:
    """`work` as a process of its own; an error is its result."""
    import torch

    # When the sweep is interrupted its workers are told to end: each puts its trial back first.
    signal.signal(signal.SIGTERM, _leave)
    torch.set_num_threads(cores_each(plan.request.jobs))
    with sent_again({_ToldToEnd: signal.SIGTERM}):
        return _work_apart(plan, store_url)


def _work_apart(plan: SweepPlan, store_url: str) -> EdgeKilnError | None:
    try:
        store = open_store(store_url)
        study = SharedStudy(plan, store)
        try:
            work(plan, store, study, lambda _text: None)
        finally:
            study.close()
    except EdgeKilnError as error:
        return error
    return None


class _ToldToEnd(SystemExit):
    """The sweep wants no more of this worker: no exit of what the user wrote."""


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _ToldToEnd(1)


def _run(plan: SweepPlan, store: Store, study: SharedStudy, claim: Claim, tell: Tell) -> None:
    start_s = time.monotonic()
    label = f"trial {claim.number}"

    def passed_s() -> float:
        return time.monotonic() - start_s

    try:
        judged = run_trial(
            plan,
            claim.candidate,
            store,
            _watch(study, claim),
            lambda text: tell(f"{label}: {text}"),
        )
    except HopelessError:
        study.abandon(claim, passed_s())
    except _OF_VALUES as error:
        study.fail(claim, error.message, passed_s())
    except (EdgeKilnError, KeyboardInterrupt, SystemExit):
        study.put_back(claim)
        raise
    except BaseException as error:
        # A bug, in a stage or in a function of the user's: it is not run into again.
        study.fail(claim, f"{type(error).__name__}: {error}", passed_s())
        raise
    else:
        study.succeed(claim, judged, passed_s())


def _watch(study: SharedStudy, claim: Claim) -> Callable[[str], OnEpoch]:
    def watch(stage: str) -> OnEpoch:
        def on_epoch(epoch: int, value: float) -> None:
            if study.is_hopeless(claim, stage, epoch, value):
                raise HopelessError

        return on_epoch

    return watch
