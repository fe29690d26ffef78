"""The steps of a fast Fourier transform of real values, as pairs of which each is a complex number.

Stockham's order: numbers are in their places after the last step, and vectors are read side by side
in all of them.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass

from edgekiln.compiler.kernels.multiply_add import approximate_fma
from edgekiln.compiler.kernels.tir import for_vectors, let, repeat, store
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    Index,
    float_const,
    load,
    shuffle,
    splat,
)

ComplexBuffers = tuple[Buffer, Buffer]  # real and imaginary parts
_PAIR = (operator.add, operator.sub)


def factors(size: int) -> list[int]:
    """The factors of the steps for a frame of so many values, twos first; none where it has no
    such steps.
    """
    rest, found = size // 2, []
    for factor in (2, 3, 5):
        while rest % factor == 0:
            rest //= factor
            found.append(factor)
    return found if rest == 1 and size % 2 == 0 else []


@dataclass(frozen=True)
class FourierSteps:
    """Emits the steps of one frame's transform, of `half` complex numbers."""

    mk: MicroKernel
    half: int
    turns: int  # that are known: of e^(-2πi·k/half) the first ones
    rising: bool

    @property
    def widths(self) -> tuple[int, ...]:
        """Lanes of the vectors, those of one register."""
        return tuple(n for n in self.mk.lanes if n <= self.mk.register) or (1,)

    def windowed(
        self, x: Buffer, at: Index, window: Buffer, count: int, to: ComplexBuffers
    ) -> None:
        """Values with even numbers become real parts, those with odd ones imaginary parts."""
        real, imaginary = to

        def body(i: Index, lanes: int) -> None:
            first, size = let(i * 2), 2 * lanes
            if lanes == 1:
                store(real, i, load(x, at + first) * load(window, first))
                store(imaginary, i, load(x, at + first + 1) * load(window, first + 1))
                return
            values = let(load(x, at + first, size) * load(window, first, size))
            for part, buffer in enumerate(to):
                store(buffer, i, shuffle([values], range(part, size, 2)), lanes)

        pairs, odd = divmod(count, 2)
        for_vectors(pairs, self.widths, body)
        if odd:
            store(real, pairs, load(x, at + 2 * pairs) * load(window, 2 * pairs))
            store(imaginary, pairs, float_const(0.0))
        behind = pairs + odd
        if behind == self.half:
            return
        for buffer in to:
            for_vectors(
                self.half - behind,
                self.widths,
                lambda i, lanes, buffer=buffer: store(  # type: ignore[misc]
                    buffer, behind + i, splat(float_const(0.0), lanes), lanes
                ),
            )

    def stage(
        self, x: ComplexBuffers, y: ComplexBuffers, waves: Buffer, radix: int, stride: int
    ) -> None:
        """Emit a step: transforms of x[i], x[i + half / radix], …, turned, where y has them."""
        count = self.half // radix
        # Twos come first: only of these a stride may be less than a vector.
        fits = [n for n in self.widths if count % n == 0 and (radix == 2 or stride % n == 0)]
        lanes = max(fits, default=1)
        if stride < lanes:
            with repeat(count // lanes) as number:
                i = let(number * lanes)
                same = [lane // stride * stride for lane in range(lanes)]
                parts = [let(load(waves, i + part * self.turns, lanes)) for part in (0, 1)]
                turn = [let(shuffle([part], same)) if stride > 1 else part for part in parts]
                self._interleaved(y, i, stride, self._small(x, i, radix, [turn], lanes), lanes)
            return
        with repeat(count // stride) as p:
            turns = [
                [let(load(waves, p * (stride * number) + part * self.turns)) for part in (0, 1)]
                for number in range(1, radix)
            ]
            with repeat(stride // lanes) as q:
                i = let(p * stride + q * lanes)
                wide = [[splat(part, lanes) for part in turn] for turn in turns]
                results = self._small(x, i, radix, [] if stride == count else wide, lanes)
                first = let(p * (radix * stride) + q * lanes)
                for number, result in enumerate(results):
                    for buffer, value in zip(y, result, strict=True):
                        store(buffer, first + number * stride, value, lanes)

    def _small(
        self, x: ComplexBuffers, i: Index, radix: int, turns: list[list[Expr]], lanes: int
    ) -> list[list[Expr]]:
        """The transform of `radix` numbers, of which each but the first is then turned; where there
        are no turns they stay.
        """
        step = self.half // radix
        given = [[let(load(part, i + n * step, lanes)) for part in x] for n in range(radix)]
        if radix == 2:
            a, b = given
            results = [[let(combine(p, q)) for p, q in zip(a, b, strict=True)] for combine in _PAIR]
        else:
            results = self._odd(given, lanes)
        turned = [self._turned(*pair, lanes) for pair in zip(results[1:], turns, strict=False)]
        return [results[0], *(turned or results[1:])]

    def _odd(self, given: list[list[Expr]], lanes: int) -> list[list[Expr]]:
        """The transform of an odd number of values, by the sums and differences of those that lie
        as far from the first one.
        """
        first, radix, mk = given[0], len(given), self.mk
        sums, apart = (
            [
                [let(combine(a, b)) for a, b in zip(given[n], given[-n], strict=True)]
                for n in range(1, radix // 2 + 1)
            ]
            for combine in _PAIR
        )
        total = first
        for pair in sums:
            total = [let(a + b) for a, b in zip(total, pair, strict=True)]
        results = [total, *[first] * (radix - 1)]
        for number in range(1, radix // 2 + 1):
            mean, across = list(first), [splat(float_const(0.0), lanes)] * 2
            for n, (pair, difference) in enumerate(zip(sums, apart, strict=True), 1):
                angle = 2 * math.pi * (n * number % radix) / radix
                cosine, sine = (
                    splat(float_const(value), lanes) for value in (math.cos(angle), math.sin(angle))
                )
                for part in (0, 1):
                    mean[part] = approximate_fma(mk, pair[part], cosine, mean[part], lanes)
                    across[part] = approximate_fma(mk, difference[part], sine, across[part], lanes)
            (real, imaginary), (along, rise) = map(let, mean), map(let, across)
            results[number] = [let(real + rise), let(imaginary - along)]
            results[-number] = [let(real - rise), let(imaginary + along)]
        return results

    def _turned(self, value: list[Expr], turn: list[Expr], lanes: int) -> list[Expr]:
        """A complex product."""
        (real, imaginary), (cosine, sine) = value, turn
        minus = splat(float_const(0.0), lanes) - imaginary
        return [
            let(approximate_fma(self.mk, real, cosine, minus * sine, lanes)),
            let(approximate_fma(self.mk, real, sine, imaginary * cosine, lanes)),
        ]

    def _interleaved(
        self, y: ComplexBuffers, i: Index, stride: int, pair: list[list[Expr]], lanes: int
    ) -> None:  # fmt: skip
        """Store `stride` sums and as many differences in turn."""
        order = [
            block + part + q
            for block in range(0, lanes, stride)
            for part in (0, lanes)
            for q in range(stride)
        ]
        for buffer, *both in zip(y, *pair, strict=True):
            for first in (0, lanes):
                store(buffer, i * 2 + first, shuffle(both, order[first : first + lanes]), lanes)

    def spectrum(
        self, x: ComplexBuffers, halfway: Buffer, keep: Callable[[Index, Expr, Expr, int], None]
    ) -> None:
        """Make the frame's spectrum of that of its pairs."""
        mk, half = self.mk, self.half
        real, imaginary = (let(load(part, 0)) for part in x)
        two, zero = float_const(2.0), float_const(0.0)
        keep(0, (real + imaginary) * two, zero, 1)
        keep(half, (real - imaginary) * two, zero, 1)

        def body(i: Index, lanes: int) -> None:
            at, mirrored = i + 1, half - lanes - i
            reals, imaginaries = (
                (
                    let(load(part, at, lanes)),
                    let(_reversed(load(part, mirrored, lanes), lanes)),
                )
                for part in x
            )
            cosine, sine = (let(load(halfway, at + part * half, lanes)) for part in (0, 1))
            odd = let(_both(imaginaries))
            apart = let(reals[0] - reals[1])
            value = approximate_fma(mk, cosine, odd, _both(reals), lanes)
            value = approximate_fma(mk, sine, apart, value, lanes)
            back = splat(zero, lanes) - apart
            other = approximate_fma(mk, cosine, back, imaginaries[0] - imaginaries[1], lanes)
            other = let(approximate_fma(mk, sine, odd, other, lanes))
            keep(at, value, splat(zero, lanes) - other if self.rising else other, lanes)

        for_vectors(half - 1, self.widths, body)


def _both(pair: tuple[Expr, Expr]) -> Expr:
    return pair[0] + pair[1]


def _reversed(value: Expr, lanes: int) -> Expr:
    return value if lanes == 1 else shuffle([value], range(lanes - 1, -1, -1))
