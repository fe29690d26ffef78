"""What proposes the next trial of a study."""

from typing import TYPE_CHECKING

from edgekiln.compiler.sweep.plan import SweepRequest
from edgekiln.compiler.sweep.storage import load_optuna

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

FEW_TRIALS = 4  # of which nothing can be learnt yet
_RANDOM_FIRST = 10  # trials before the sampler learns from them; a third of few
_POPULATION = 16  # of a generation: a search of hours has a few of them


def sampler(request: SweepRequest, count: int) -> "BaseSampler":
    """The sampler of one trial. Its seed is that of the recipe and the number of trials before, so
    that a study that goes on draws what it would have drawn.
    """
    from edgekiln.compiler.training.reproducible import derived_seed

    optuna, seed = load_optuna(), derived_seed(request.recipe.seed, count)
    found: BaseSampler
    if request.sampler == "nsga2":
        found = optuna.samplers.NSGAIISampler(seed=seed, population_size=_POPULATION)
    else:
        few = _RANDOM_FIRST
        if request.trials is not None:
            few = min(few, max(FEW_TRIALS, request.trials // 3))
        found = optuna.samplers.TPESampler(seed=seed, n_startup_trials=few)
    return found
