"""Fourier transforms of windowed frames of real values, by way of a fast transform.

A frame of n values is a transform of n / 2 complex numbers, by factors of two, three and five, from
whose results x[k] and x[n / 2 - k] the frame's follow. Products join sums as fused multiply-adds
where the chip has those: bits are the same on all chips that do.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.epilogue.finish import ActivationFinish
from edgekiln.compiler.kernels.fourier_steps import FourierSteps, factors
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import (
    divmod_,
    let,
    loop,
    memory,
    store,
)
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Expr,
    Index,
    shuffle,
)

LEAST_SIZE = 64  # values of a frame; of 32 a product with all waves takes hardly longer


@dataclass(frozen=True, kw_only=True, eq=False)
class FourierKernel:
    """Computes y[frame] = finish(Σ x[frame · hop + i] · window[i] · e^(-2πi·k/size)) for k up to
    size / 2, real and imaginary parts.

    Args:
        images: of so many `samples`, of which each has so many `frames`.
        size: has `factors`; a frame's values behind the window are 0.
        window: float32, of the values that are read.
        paired: whether a real part and its imaginary one lie side by side; all real ones come first
            where they do not.
        rising: whether imaginary parts are those of e^(+2πi·k/size).
    """

    images: int
    samples: int
    frames: int
    hop: int
    size: int
    window: NDArray[np.float32]
    paired: bool
    rising: bool
    y: Nhwc
    finish: ActivationFinish

    @property
    def erased(self) -> Self:
        """The kernel that stands for all with the same code."""
        y, finish = self.finish.erased_result(self.y)
        return replace(self, window=np.zeros_like(self.window), y=y, finish=finish)

    @property
    def half(self) -> int:
        """Complex numbers that are transformed; one less than those of the result."""
        return self.size // 2

    @property
    def products(self) -> int:
        """Multiplications of real numbers."""
        # Four for each pair that is turned; each result is two products of complex numbers.
        steps = sum(4 * (radix - 1) * self.half // radix for radix in factors(self.size))
        return self.images * self.frames * (steps + 4 * self.half + self.window.size)

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        """Build the kernel."""
        count, half = self.window.size, self.half
        with KernelBuilder() as k:
            x = k.tensor(self.images * self.samples, "float32")
            # Halved, for the last step adds pairs whose mean is wanted.
            window = k.constant((self.window * np.float32(0.5)).astype(np.float32))
            steps = factors(self.size)
            turns = half // 2 if max(steps) == 2 else half
            waves = k.constant(_turns(half)[:, :turns].astype(np.float32))
            halfway = k.constant(_turns(self.size)[:, :half].astype(np.float32))
            result = self.finish.result(self.y)
            result.declare(k)
            y = k.tensor(self.y.elements, self.y.dtype)
            begin, end = k.items(self.images * self.frames)
            source, target = ((memory("float32", half), memory("float32", half)) for _ in range(2))
            emit = FourierSteps(mk, half, turns, rising=self.rising)
            with loop(begin, end) as item:
                image, frame = divmod_(item, self.frames)
                emit.windowed(
                    x, let(image * self.samples + frame * self.hop), window, count, source
                )
                stride = 1
                read, written = source, target
                for radix in steps:
                    emit.stage(read, written, waves, radix, stride)
                    read, written, stride = written, read, radix * stride

                def keep(place: Index, value: Expr, lanes: int, item: Expr = item) -> None:
                    stored = result.stored(mk, value, lanes)
                    store(y, item * (self.size + 2) + place, stored, lanes)

                emit.spectrum(read, halfway, self._stored(keep))
        return k.finish()

    def _stored(
        self, keep: Callable[[Index, Expr, int], None]
    ) -> Callable[[Index, Expr, Expr, int], None]:
        """What stores real and imaginary parts of so many results from one on."""

        def paired(at: Index, real: Expr, imaginary: Expr, lanes: int) -> None:
            order = [part * lanes + i for i in range(lanes) for part in (0, 1)]
            for number, first in enumerate(range(0, 2 * lanes, lanes)):
                both = (real, imaginary)[number]
                if lanes > 1:
                    both = shuffle([real, imaginary], order[first : first + lanes])
                keep(at * 2 + first, both, lanes)

        def parted(at: Index, real: Expr, imaginary: Expr, lanes: int) -> None:
            keep(at, real, lanes)
            keep(at + (self.half + 1), imaginary, lanes)

        return paired if self.paired else parted


def _turns(size: int) -> NDArray[np.float64]:
    """(2, size): real and imaginary parts of e^(-2πi·k/size)."""
    angles = 2 * np.pi * np.arange(size) / size
    return np.stack([np.cos(angles), -np.sin(angles)])
