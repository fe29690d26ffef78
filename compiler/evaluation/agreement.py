"""How far a model is from the float model it came from: what can be said without labels."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.evaluation.report import Costs, check_numbers, holding_nan
from edgekiln.compiler.onnx_model import model_inputs
from edgekiln.compiler.onnx_model.model_inputs import Inputs
from edgekiln.compiler.quantization.sqnr import Sqnr, least
from edgekiln.runtime.errors import InputError

_LEAST_NORM = 1e-30  # a row shorter than this points nowhere


@dataclass(frozen=True, kw_only=True)
class Agreement(Costs):
    """The report of one model on held-out samples. Of several outputs the worst number counts."""

    sqnr_db: float  # signal to noise of the outputs, at most `sqnr.PERFECT_DB`
    top1: float | None  # share of samples with the same largest score; None: no row of scores
    cosine: float  # of the outputs' directions, the samples' mean; 1: the same
    n: int  # samples
    of: int  # held-out samples; more than `n`, where an emulator takes too long


@dataclass
class OutputTally:
    """One output's differences over the samples."""

    sqnr: Sqnr = field(default_factory=Sqnr)
    cosines: list[float] = field(default_factory=list)
    same: list[bool] = field(default_factory=list)  # the largest score; empty: no row of scores

    def add(self, real: NDArray[np.generic], ours: NDArray[np.generic], samples: int) -> None:
        a, b = (model_inputs.rows(each, samples).astype(np.float64) for each in (real, ours))
        self.sqnr.add(a, b)
        self.cosines += [_cosine(x, y) for x, y in zip(a, b, strict=True)]
        row = max(real.shape[1:] or real.shape, default=0)
        if a.shape[1] > 1 and row == a.shape[1]:
            self.same += (a.argmax(1) == b.argmax(1)).tolist()


def agreement(
    reference: Callable[[Inputs], list[NDArray[np.generic]]],
    candidate: Callable[[Inputs], list[NDArray[np.generic]]],
    batches: Iterable[tuple[Inputs, int]],
    costs: Costs,
    of: int,
) -> Agreement:
    """Run both on the same samples.

    Args:
        batches: the inputs of calls, and the samples in each.
        of: how many held-out samples there are.

    Raises:
        InputError: their outputs differ in number or size, or there is NaN among the reference's.
    """
    tallies: list[OutputTally] = []
    count = lost = 0
    for given, samples in batches:
        real, ours = reference(given), candidate(given)
        if [each.size for each in real] != [each.size for each in ours]:
            shapes = [", ".join(str(each.shape) for each in side) for side in (ours, real)]
            raise InputError(
                f"the outputs {shapes[0]} are not those of the float model, {shapes[1]}",
                hint="give the models of one build",
            )
        tallies = tallies or [OutputTally() for _ in real]
        for tally, a, b in zip(tallies, real, ours, strict=True):
            tally.add(a, b.reshape(a.shape), samples)
        lost += _lost(real, samples)
        count += samples
    check_numbers(lost, count)
    scored = [tally for tally in tallies if tally.same]
    ratios = [tally.sqnr for tally in tallies]
    return Agreement(
        parameters=costs.parameters,
        macs=costs.macs,
        file_bytes=costs.file_bytes,
        sqnr_db=ratios[least(ratios)].db,
        top1=min(float(np.mean(tally.same)) for tally in scored) if scored else None,
        cosine=min(float(np.mean(tally.cosines)) for tally in tallies),
        n=count,
        of=of,
    )


def _lost(outputs: Iterable[NDArray[np.generic]], samples: int) -> int:
    """How many samples have NaN in an output."""
    found = np.zeros(samples, bool)
    for output in outputs:
        # One row, where it is not the samples' in turn, says it of all of them.
        found |= holding_nan([model_inputs.rows(output, samples)])
    return int(found.sum())


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        return 0.0
    lengths = [float(np.linalg.norm(each)) for each in (a, b)]
    if min(lengths) < _LEAST_NORM:
        return float(max(lengths) < _LEAST_NORM)
    return float(np.dot(a, b) / (lengths[0] * lengths[1]))
