"""A study: which trial is next, and what became of those before. Workers share it by its storage.

A trial counts unless it is void: proposed a second time, or left by a worker that was stopped. What
was left is put back, and the next worker goes on with it from its checkpoints.
"""

import contextlib
import copy
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.pipeline import locks
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.sweep import trial_attributes as on_trial
from edgekiln.compiler.sweep.lease import WORKER, is_lost, worker_of
from edgekiln.compiler.sweep.other_study import another_search, no_study
from edgekiln.compiler.sweep.plan import Candidate, SweepPlan
from edgekiln.compiler.sweep.proposals import own_values, suggested, texts_of, untried
from edgekiln.compiler.sweep.result import TrialRow
from edgekiln.compiler.sweep.sampler import FEW_TRIALS, sampler
from edgekiln.compiler.sweep.storage import (
    close,
    digest_of,
    file_of,
    load_optuna,
    open_storage,
    opening,
    talking,
)
from edgekiln.compiler.sweep.time_spent import is_over, spent_s
from edgekiln.compiler.sweep.trial import Judged
from edgekiln.runtime.files import make_folder
from edgekiln.runtime.text import without_password

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

_IDENTITY = "edgekiln"  # attribute of the study: what its workers have in common
_PROPOSALS = 8  # before those that were not tried are counted through
_STAGE_STEPS = 1_000_000  # epochs of a stage are counted from its own multiple of this
_WARMUP_EPOCHS = 1  # which say little


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A trial that this worker is to run, and no other."""

    number: int
    values: Mapping[str, object]  # by the parameters' names
    candidate: Candidate
    trial: "Trial"


class SharedStudy:
    """A study in its storage, as one worker sees it."""

    def __init__(self, plan: SweepPlan, store: Store) -> None:
        """Open or begin it.

        Raises:
            ConfigError: it searches for something else, or must be there and is not.
            MissingToolError, StorageError: as `open_storage`.
        """
        self.plan, self.store = plan, store
        self._optuna = load_optuna()
        asked, path = plan.request, file_of(plan.request.storage)
        self._digest = digest_of(asked.storage, asked.study)
        store.prepare()
        # Alone from the first, for two that make a database's tables get in each other's way.
        with self._alone():
            if asked.resume and path is not None and not path.exists():  # opening would make it
                raise no_study(asked.study, without_password(asked.storage), ())
            if path is not None and path.parent == asked.out:  # where nobody names a storage
                make_folder(asked.out)
            self._storage = open_storage(asked.storage)
            with opening(asked.storage):
                self._study = self._open()

    def close(self) -> None:
        """Give back the connections to the storage."""
        close(self._storage)

    @contextmanager
    def claim(self) -> Iterator[Claim | None]:
        """The next trial, this worker's own while the block runs; None: there is none left."""
        with contextlib.ExitStack() as held:
            with self._alone():
                self._put_back_lost()
                claim = self._next()
                if claim is not None:
                    path = self._lock_of(claim.number)
                    held.enter_context(locks.exclusive(path, lambda _who: None))
                    claim.trial.set_user_attr(WORKER, worker_of(path))
            yield claim

    def is_hopeless(self, claim: Claim, stage: str, epoch: int, value: float) -> bool:
        """Report an epoch; whether the trial is worse than half of those that came so far.

        Args:
            value: higher is better, on the validation split.
        """
        # Of several objectives: what is worse in one may be better in another.
        if self.plan.objective.needs != "score" or len(self.plan.objectives) > 1:
            return False
        first = self.plan.stages.index(stage) * _STAGE_STEPS
        with self._talking():
            claim.trial.report(value if self.plan.objective.maximized else -value, first + epoch)
            if epoch <= _WARMUP_EPOCHS:
                return False
            # Of this stage alone: what a network was before it was cut says nothing here.
            own = copy.copy(self._trials()[claim.number])
            own.intermediate_values = {
                step: seen for step, seen in own.intermediate_values.items() if step > first
            }
            pruner = self._optuna.pruners.MedianPruner(
                n_startup_trials=FEW_TRIALS, n_min_trials=FEW_TRIALS
            )
            return bool(pruner.prune(self._study, own))

    def succeed(self, claim: Claim, judged: Judged, wall_s: float) -> None:
        """Record what a trial was worth."""
        with self._talking():
            claim.trial.set_user_attr(on_trial.MEASURES, dict(judged.values))
            claim.trial.set_user_attr(on_trial.WALL, wall_s)
            for limit in self.plan.limits:
                value = judged.values[limit.measure.name]
                claim.trial.set_constraint(str(limit), limit.excess(value))
            values = [judged.values[each.name] for each in self.plan.objectives]
            self._study.tell(claim.number, values)

    def abandon(self, claim: Claim, wall_s: float) -> None:
        """Record that a trial was hopeless."""
        with self._talking():
            claim.trial.set_user_attr(on_trial.WALL, wall_s)
            claim.trial.set_user_attr(
                on_trial.REASON, "worse than half of the trials that came so far"
            )
            self._study.tell(claim.number, state=self._state("PRUNED"))

    def fail(self, claim: Claim, reason: str, wall_s: float) -> None:
        """Record why a trial came to nothing. To the sampler it is one that was stopped, so that it
        learns to keep away: of Optuna's own failed trials it learns nothing.
        """
        with self._talking():
            claim.trial.set_user_attr(on_trial.WALL, wall_s)
            claim.trial.set_user_attr(on_trial.REASON, reason)
            claim.trial.set_user_attr(on_trial.FAILED, True)
            self._study.tell(claim.number, state=self._state("PRUNED"))

    def put_back(self, claim: Claim) -> None:
        """Leave a trial to whoever comes next."""
        self._put_back(self._trials()[claim.number], "interrupted")

    def put_back_lost(self) -> None:
        """Put back what workers on this machine had claimed who are no more."""
        with self._alone():
            self._put_back_lost()

    def rows(self) -> tuple[TrialRow, ...]:
        """The trials that count, in their order."""
        with self._talking():
            return tuple(
                on_trial.row_of(each, self.plan.limits) for each in self._counted(self._trials())
            )

    def values_of(self, number: int) -> Mapping[str, object]:
        """What a trial tried, by the parameters' names."""
        tried = self._trials()[number].params
        return {each.name: each.range.value_of(tried[each.name]) for each in self.plan.space}

    def importances(self, place: int = 0) -> Mapping[str, float]:
        """How much of the differences between good and other trials each parameter explains; {}
        where too few are done to say.

        Args:
            place: of the objective that makes them good, among the plan's.
        """
        # What is explained is how low a number is.
        sign = -1.0 if self.plan.objectives[place].maximized else 1.0
        with self._talking():
            done = [t for t in self._trials() if t.state == self._state("COMPLETE")]
            if len(done) < FEW_TRIALS or len({t.values[place] for t in done}) < 2:
                return {}
            evaluator = self._optuna.importance.PedAnovaImportanceEvaluator()
            found = self._optuna.importance.get_param_importances(
                self._study, evaluator=evaluator, target=lambda t: sign * t.values[place]
            )
        return {str(name): float(share) for name, share in found.items()}

    def spent_s(self) -> float:
        """How long somebody has worked on the study."""
        return spent_s(self._counted(self._trials()), time.time())

    def _open(self) -> "Study":
        asked, name = self.plan.request, self.plan.request.study
        there = set(self._optuna.get_all_study_names(self._storage))
        if asked.resume and name not in there:
            raise no_study(name, without_password(asked.storage), there)
        study: Study = self._optuna.create_study(
            study_name=name,
            storage=self._storage,
            directions=["maximize" if x.maximized else "minimize" for x in self.plan.objectives],
            load_if_exists=True,
        )
        identity = self.plan.identity()
        if name not in there:
            study.set_user_attr(_IDENTITY, dict(identity))
            study.enqueue_trial(own_values(self.plan.space, asked.recipe))
        elif (known := study.user_attrs.get(_IDENTITY)) != identity:
            raise another_search(name, without_password(asked.storage), identity, known or {})
        on_trial.require_whole(study.get_trials(deepcopy=False), self.plan)
        return study

    def _next(self) -> Claim | None:
        # One that waits is not begun: the number of those before gives each its own seed.
        waiting = self._state("WAITING")
        trials = [each for each in self._trials() if each.state != waiting]
        counted = self._counted(trials)
        asked = self.plan.request
        if asked.trials is not None and len(counted) >= asked.trials:
            return None
        if asked.budget_s is not None and is_over(counted, asked.budget_s, time.time()):
            return None
        tried = [each.user_attrs.get(on_trial.VALUES) for each in counted]
        for attempt in range(_PROPOSALS):
            claim = self._propose(len(trials) + attempt)
            if claim is not None and texts_of(claim.values) not in tried:
                return self._begun(claim)
            if claim is not None:
                self._void(claim.number, "tried before")
        # A small space: whatever is left of it, in an order of chance.
        left = untried(self.plan.space, tried)
        if not left:
            return None
        chosen = random.Random(len(trials)).choice(left)
        with self._talking():
            self._study.enqueue_trial(chosen)
        return self._begun(self._propose(len(trials)))

    def _propose(self, count: int) -> Claim:
        """Ask for a trial. Its seed is that of the recipe and the number of trials before."""
        with self._talking():
            self._study.sampler = sampler(self.plan.request, count)
            trial = self._study.ask()
            values = {each.name: suggested(trial, each) for each in self.plan.space}
        candidate = self.plan.candidate(values)
        return Claim(number=trial.number, values=values, candidate=candidate, trial=trial)

    def _begun(self, claim: Claim) -> Claim:
        claim.trial.set_user_attr(on_trial.VALUES, texts_of(claim.values))
        return claim

    def _trials(self) -> "list[FrozenTrial]":
        with self._talking():
            return list(self._study.get_trials(deepcopy=False))

    def _counted(self, trials: "Sequence[FrozenTrial]") -> "list[FrozenTrial]":
        waiting = self._state("WAITING")
        return [t for t in trials if t.state != waiting and on_trial.VOID not in t.user_attrs]

    def _put_back_lost(self) -> None:
        running = self._state("RUNNING")
        for trial in [t for t in self._trials() if t.state == running]:
            if is_lost(trial):
                self._put_back(trial, "its worker was stopped")

    def _put_back(self, trial: "FrozenTrial", why: str) -> None:
        with self._talking(), contextlib.suppress(self._optuna.exceptions.UpdateFinishedTrialError):
            self._void(trial.number, why)
            self._study.enqueue_trial(trial.params)

    def _void(self, number: int, why: str) -> None:
        with self._talking():
            self._storage.set_trial_user_attr(self._id_of(number), on_trial.VOID, why)
            self._study.tell(number, state=self._state("FAIL"))

    def _id_of(self, number: int) -> int:
        study_id = self._storage.get_study_id_from_name(self.plan.request.study)
        return int(self._storage.get_trial_id_from_study_id_trial_number(study_id, number))

    def _lock_of(self, number: int) -> Path:
        return self.store.locks / f"sweep-{self._digest}-{number}"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the study against workers of this machine that share the store."""
        with locks.exclusive(self.store.locks / f"sweep-{self._digest}", lambda _who: None):
            yield

    def _talking(self) -> "AbstractContextManager[None]":
        return talking(self.plan.request.storage)

    def _state(self, name: str) -> object:
        return self._optuna.trial.TrialState[name]
