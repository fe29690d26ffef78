"""A study: which trial is next, and what became of those before. Workers share it by its storage.

A trial counts unless it is void: proposed a second time, or left by a worker that was stopped. What
was left is put back, and the next worker goes on with it from its checkpoints.
"""

import contextlib
import copy
import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.pipeline import locks
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.sweep.lease import WORKER, is_lost, worker_of
from edgekiln.compiler.sweep.plan import SweepPlan, another_search, no_study
from edgekiln.compiler.sweep.proposals import own_values, suggested, texts_of, untried
from edgekiln.compiler.sweep.result import TrialRow, TrialState
from edgekiln.compiler.sweep.storage import (
    close,
    file_of,
    load_optuna,
    open_storage,
    opening,
    shown,
    talking,
)
from edgekiln.compiler.sweep.trial import Judged

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

_IDENTITY = "edgekiln"  # attribute of the study: what its workers have in common
_VOID, _VALUES = "void", "values"  # attributes of trials
_MEASURES, _FAILED, _REASON, _WALL = "measures", "failed", "reason", "wall_s"
_STATES: Mapping[str, TrialState] = {"COMPLETE": "done", "PRUNED": "stopped"}
_PROPOSALS = 8  # before those that were not tried are counted through
_RANDOM_FIRST = 10  # trials before the sampler learns from them; a third of few
_STAGE_STEPS = 1_000_000  # epochs of a stage are counted from its own multiple of this
_WARMUP_EPOCHS = 1  # which say little
_MEDIAN_OF = 4  # trials that came so far, at least


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A trial that this worker is to run, and no other."""

    number: int
    values: Mapping[str, object]  # by the parameters' names
    recipe: Recipe
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
        name = f"{plan.request.storage} {plan.request.study}"
        self._digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        store.prepare()
        # Alone from the first, for two that make a database's tables get in each other's way.
        with self._alone():
            asked = plan.request
            path = file_of(asked.storage)
            # Opening it would make it.
            if asked.resume and path is not None and not path.exists():
                raise no_study(asked.study, shown(asked.storage), ())
            self._storage = open_storage(asked.storage)
            with opening(plan.request.storage):
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
        if self.plan.objective.needs != "score":
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
                n_startup_trials=_MEDIAN_OF, n_min_trials=_MEDIAN_OF
            )
            return bool(pruner.prune(self._study, own))

    def succeed(self, claim: Claim, judged: Judged, wall_s: float) -> None:
        """Record what a trial was worth."""
        with self._talking():
            claim.trial.set_user_attr(_MEASURES, dict(judged.values))
            claim.trial.set_user_attr(_WALL, wall_s)
            for limit in self.plan.limits:
                value = judged.values[limit.measure.name]
                claim.trial.set_constraint(str(limit), limit.excess(value))
            self._study.tell(claim.number, judged.values[self.plan.objective.name])

    def abandon(self, claim: Claim, wall_s: float) -> None:
        """Record that a trial was hopeless."""
        with self._talking():
            claim.trial.set_user_attr(_WALL, wall_s)
            claim.trial.set_user_attr(_REASON, "worse than half of the trials that came so far")
            self._study.tell(claim.number, state=self._state("PRUNED"))

    def fail(self, claim: Claim, reason: str, wall_s: float) -> None:
        """Record why a trial came to nothing. To the sampler it is one that was stopped, so that it
        learns to keep away: of Optuna's own failed trials it learns nothing.
        """
        with self._talking():
            claim.trial.set_user_attr(_WALL, wall_s)
            claim.trial.set_user_attr(_REASON, reason)
            claim.trial.set_user_attr(_FAILED, True)
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
            return tuple(self._row(each) for each in self._counted(self._trials()))

    def values_of(self, number: int) -> Mapping[str, object]:
        """What a trial tried, by the parameters' names."""
        tried = self._trials()[number].params
        return {each.name: each.range.value_of(tried[each.name]) for each in self.plan.space}

    def importances(self) -> Mapping[str, float]:
        """How much of the differences between good and other trials each parameter explains; {}
        where too few are done to say.
        """
        with self._talking():
            done = [t for t in self._trials() if t.state == self._state("COMPLETE")]
            if len(done) < _MEDIAN_OF or len({t.value for t in done}) < 2:
                return {}
            evaluator = self._optuna.importance.PedAnovaImportanceEvaluator()
            found = self._optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        return {str(name): float(share) for name, share in found.items()}

    def _open(self) -> "Study":
        asked, name = self.plan.request, self.plan.request.study
        there = {s.study_name for s in self._optuna.get_all_study_summaries(self._storage)}
        if asked.resume and name not in there:
            raise no_study(name, shown(asked.storage), there)
        study: Study = self._optuna.create_study(
            study_name=name,
            storage=self._storage,
            direction="maximize" if self.plan.objective.maximized else "minimize",
            load_if_exists=True,
        )
        identity = self.plan.identity()
        if name not in there:
            study.set_user_attr(_IDENTITY, dict(identity))
            study.enqueue_trial(own_values(self.plan.space, self.plan.request.recipe))
        elif (known := study.user_attrs.get(_IDENTITY)) != identity:
            raise another_search(name, shown(asked.storage), identity, known or {})
        return study

    def _next(self) -> Claim | None:
        # One that waits is not begun: the number of those before gives each its own seed.
        waiting = self._state("WAITING")
        trials = [each for each in self._trials() if each.state != waiting]
        counted = self._counted(trials)
        if len(counted) >= self.plan.request.trials:
            return None
        tried = [each.user_attrs.get(_VALUES) for each in counted]
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
        from edgekiln.compiler.training.reproducible import derived_seed

        with self._talking():
            self._study.sampler = self._optuna.samplers.TPESampler(
                seed=derived_seed(self.plan.request.recipe.seed, count),
                n_startup_trials=min(_RANDOM_FIRST, max(_MEDIAN_OF, self.plan.request.trials // 3)),
            )
            trial = self._study.ask()
            values = {each.name: suggested(trial, each) for each in self.plan.space}
        recipe = self.plan.recipe_with(values)
        return Claim(number=trial.number, values=values, recipe=recipe, trial=trial)

    def _begun(self, claim: Claim) -> Claim:
        claim.trial.set_user_attr(_VALUES, texts_of(claim.values))
        return claim

    def _trials(self) -> "list[FrozenTrial]":
        with self._talking():
            return list(self._study.get_trials(deepcopy=False))

    def _counted(self, trials: "Sequence[FrozenTrial]") -> "list[FrozenTrial]":
        waiting = self._state("WAITING")
        return [t for t in trials if t.state != waiting and _VOID not in t.user_attrs]

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
            self._storage.set_trial_user_attr(self._id_of(number), _VOID, why)
            self._study.tell(number, state=self._state("FAIL"))

    def _id_of(self, number: int) -> int:
        study_id = self._storage.get_study_id_from_name(self.plan.request.study)
        return int(self._storage.get_trial_id_from_study_id_trial_number(study_id, number))

    def _row(self, trial: "FrozenTrial") -> TrialRow:
        measures = trial.user_attrs.get(_MEASURES, {})
        failed = _FAILED in trial.user_attrs or trial.state == self._state("FAIL")
        holds = all(x.holds(measures[x.measure.name]) for x in self.plan.limits if measures)
        return TrialRow(
            number=trial.number,
            state="failed" if failed else _STATES.get(trial.state.name, "running"),
            holds=holds and bool(measures),
            measures={str(name): float(value) for name, value in measures.items()},
            options={str(n): str(text) for n, text in trial.user_attrs.get(_VALUES, {}).items()},
            reason=str(trial.user_attrs.get(_REASON, "")),
            wall_s=round(float(trial.user_attrs.get(_WALL, 0.0)), 1),
        )

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
