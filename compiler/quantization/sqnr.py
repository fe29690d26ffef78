"""How much of the signal survives quantization."""

from collections.abc import Iterable, Sequence
from math import sqrt
from typing import Self

import numpy as np
from numpy.typing import NDArray

PERFECT_DB = 200.0  # two equal outputs have no noise; the report needs a number
LOST_DB = -PERFECT_DB  # nothing of the signal, or no signal: NaN, or zeros alone
ANY_SIGNAL_DB = LOST_DB + 1.0  # the least ratio of outputs that are numbers


class Sqnr:
    """Signal-to-quantization-noise ratio over any number of batches:
    10 · log10(Σ f² / Σ (f − q)²) dB, for the float output f and the quantized one q.
    """

    def __init__(self) -> None:
        self._signal = self._noise = 0.0

    @classmethod
    def together(cls, parts: Iterable["Sqnr"]) -> Self:
        """The ratio of several sums as one."""
        whole = cls()
        for part in parts:
            whole._signal += part._signal
            whole._noise += part._noise
        return whole

    def add(self, real: NDArray[np.generic], quantized: NDArray[np.generic]) -> None:
        exact, rounded = real.astype(np.float64), quantized.astype(np.float64)
        # An infinity that both have, as of what is masked, has no noise, and no size to compare.
        both = np.isinf(exact) & (exact == rounded)
        if both.any():
            exact, rounded = (np.where(both, 0.0, each) for each in (exact, rounded))
        self._signal += float(np.sum(exact**2))
        self._noise += float(np.sum((exact - rounded) ** 2))

    @property
    def has_signal(self) -> bool:
        """Whether any output so far was another number than 0."""
        return self._signal > 0.0

    @property
    def is_silent(self) -> bool:
        """Whether both outputs were nothing but zeros so far, which says nothing of either."""
        return self._signal == self._noise == 0.0

    @property
    def db(self) -> float:
        """The ratio so far, between LOST_DB and PERFECT_DB."""
        if self._signal == 0.0 or not np.isfinite(self._signal + self._noise):
            return LOST_DB
        if self._noise == 0.0:
            return PERFECT_DB
        return min(10.0 * float(np.log10(self._signal / self._noise)), PERFECT_DB)


def least(outputs: Sequence[Sqnr]) -> int:
    """Which output keeps least of its signal; a silent one if no other is there."""
    order = sorted(
        range(len(outputs)), key=lambda each: (outputs[each].is_silent, outputs[each].db)
    )
    return order[0]


class OutputNoises:
    """The ratios of a model's outputs, each for itself, call by call."""

    def __init__(self, outputs: int) -> None:
        self._calls: list[list[Sqnr]] = [[] for _ in range(outputs)]

    def add(
        self, real: Sequence[NDArray[np.generic]], quantized: Sequence[NDArray[np.generic]]
    ) -> None:
        """Take in the outputs of one call."""
        for calls, exact, rounded in zip(self._calls, real, quantized, strict=True):
            calls.append(Sqnr())
            calls[-1].add(exact, rounded)

    def db_of(self, outputs: Iterable[int]) -> float:
        """The ratio of some outputs together."""
        return Sqnr.together(call for number in outputs for call in self._calls[number]).db

    @property
    def least(self) -> int:
        """The output that keeps least of its signal."""
        return least([Sqnr.together(calls) for calls in self._calls])

    def least_sure_db(self, blocks: int, errors: float) -> float | None:
        """The least ratio of an output, less so many of its standard errors, from the ratios of so
        many blocks of calls; nothing less where fewer than two have one: silence has none. None of
        a single call, which tells nothing of others.

        The output of which that is least need not be the one that keeps least.
        """
        if len(self._calls[0]) < 2:
            return None
        wholes = [Sqnr.together(calls) for calls in self._calls]
        loud = [number for number, whole in enumerate(wholes) if not whole.is_silent]
        return min(
            wholes[number].db - errors * _standard_error(self._calls[number], blocks)
            for number in loud or range(len(wholes))
        )


def _standard_error(calls: Sequence[Sqnr], blocks: int) -> float:
    count = min(blocks, len(calls))
    ratios = [Sqnr.together(calls[block::count]).db for block in range(count)]
    known = [ratio for ratio in ratios if LOST_DB < ratio < PERFECT_DB]
    return float(np.std(known, ddof=1)) / sqrt(len(known)) if len(known) > 1 else 0.0
