"""The real time of a program that runs here, by which one can judge its estimate."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekiln.compiler.estimate.program import Estimate
from edgekiln.runtime import host
from edgekiln.runtime.bench import bench
from edgekiln.runtime.bundle import MANIFEST, ProgramFile

_TRIALS, _TRIAL_S = 3, 0.3


@dataclass(frozen=True, kw_only=True)
class MeasuredReference:
    """What a program's layers take on this machine's CPU, measured."""

    cpu: str
    median_s: float  # of whole inferences
    layers_s: tuple[float, ...]
    rank_correlation: float  # Spearman's, of the layers' estimated cycles and measured times


def runs_here(opened: ProgramFile) -> bool:
    """Whether the file is a bundle for this machine."""
    spec = opened.spec
    here = spec.machine == platform.machine() and set(spec.features) <= host.cpu_flags()
    return here and MANIFEST in opened.files


def measure(path: Path, estimate: Estimate) -> MeasuredReference:
    """Time a bundle that runs here, in short trials. Raises MeasurementError: it failed or hung."""
    result = bench(path, trials=_TRIALS, min_seconds=_TRIAL_S, profile=True)
    layers_s = tuple(layer.latency_s for layer in result.layers)
    return MeasuredReference(
        cpu=result.machine.cpu,
        median_s=result.median_s,
        layers_s=layers_s,
        rank_correlation=_spearman([layer.cycles for layer in estimate.layers], layers_s),
    )


def _spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """The correlation of ranks; 0 where there is nothing to rank."""
    if len(a) < 2:
        return 0.0
    of_a, of_b = (np.argsort(np.argsort(values)) for values in (a, b))
    return float(np.corrcoef(of_a, of_b)[0, 1])
