"""Accuracy control: step by step, until an int8 model loses no more than it may.

The steps go from what costs nothing to what costs most: the model as it is; the residual sums of a
transformer in float, which cost next to nothing and give more than what follows, and then what its
blocks compute between two products; corrections; learned rounding; training, where the caller
brings it; where weights have four bits, the fewest and cheapest layers whose weights keep eight, or
all of them; the fewest and cheapest layers whose activations have 16 bits, where these suffice; the
fewest and cheapest in float, which come last because enough of them always suffice. What is kept is
decided on validation samples: a correction by the signal to noise of the outputs, the end by the
task's own measure, or, without labels, by the signal to noise alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model.four_bits import NARROW_BITS
from edgekiln.compiler.quantization.attempt import Attempt
from edgekiln.compiler.quantization.corrections import (
    CORRECTIONS,
    ROUNDING,
    Correction,
    Workbench,
    migrated,
)
from edgekiln.compiler.quantization.float_layers import (
    WHOLE_WEIGHTS,
    WIDENED,
    Base,
    LayerChoice,
    cheapest,
    cheapest_in_float,
)
from edgekiln.compiler.quantization.judge import Judge, QualityLimits, Verdict
from edgekiln.compiler.quantization.ladder_record import (
    ALL_WHOLE,
    IN_16_BITS,
    IN_FLOAT,
    WHOLE,
    Ladder,
    LayerSensitivity,
    Rung,
    kept_until,
)
from edgekiln.compiler.quantization.products import WEIGHT_BITS, with_real_weights
from edgekiln.compiler.quantization.residual_sums import inner_activations, residual_sums
from edgekiln.compiler.quantization.scheme import Scheme
from edgekiln.compiler.quantization.sensitivity import sensitivities
from edgekiln.compiler.quantization.wide_codes import WIDE_BITS

if TYPE_CHECKING:
    import onnx


# A quantized model and the float one that it was made of → the quantized one, trained.
Retrain = Callable[["onnx.ModelProto", "onnx.ModelProto"], "onnx.ModelProto"]

AS_IT_IS, TRAINED = "as it is", "training"
SUMS, ACTIVATIONS = "residual sums in float", "activations in float"
FLOAT_WEIGHTS = "weights in float, the most that rounding can give"
_HALF_DB = 3.0  # what a signal gains with half of its noise
_WORTH_DB = 1.0  # with a fifth of it


@dataclass
class Climb:
    """One way up."""

    judge: Judge
    probe: Judge  # the same on fewer samples, for what is asked of every layer
    limits: QualityLimits
    bench: Workbench
    retrain: Retrain | None = None
    helping: int = 0  # of the samples, which calibrate
    corrections: Mapping[str, Correction] = field(default_factory=lambda: CORRECTIONS)
    rungs: list[Rung] = field(default_factory=list)
    _tried: list[Attempt] = field(default_factory=list)
    _spared: tuple[str, ...] = ()  # of a transformer, before any layer

    def climb(self, start: Scheme) -> tuple[Attempt, Ladder]:
        """Climb until the limits hold, whatever the samples leave in doubt; where they do so
        nowhere, go back to the first step at which they hold at all, else to the one that loses
        least.
        """
        now = self._candidate(AS_IT_IS, start)
        self._note(now, kept=True)
        sensitivity: tuple[LayerSensitivity, ...] = ()
        if not self._surely(now.verdict):
            now = self._transformed(now)
        if not self._surely(now.verdict):
            now, base = self._corrected(now)
            if not self._surely(now.verdict) and self.retrain is not None:
                now = self._trained(now, self.retrain)
            if not self._surely(now.verdict):
                # Of what was corrected, which has other weak places than what was not; asked of
                # every layer, which takes long, only where layers have to be chosen.
                sensitivity = self._sensitivity(base.scheme)
                begin = self._base(base, sensitivity)
                if base.scheme.weight_bits == NARROW_BITS:
                    now, base = self._with_whole_weights(now, begin)
                    if not self._surely(now.verdict):
                        sensitivity = self._sensitivity(base.scheme)
                        begin = self._base(base, sensitivity)
            if not self._surely(now.verdict):
                now, wide = self._in_16_bits(now, begin)
                if not self._surely(now.verdict):
                    now = self._in_float(now, base, [begin, *self._wide_base(base, wide)])
        chosen = self._chosen(now)
        ladder = Ladder(
            limits=self.limits.lost,
            min_sqnr_db=self.limits.min_sqnr_db,
            samples=self.judge.samples,
            helping=self.helping,
            met=chosen.verdict.excess(self.limits) <= 0.0,
            chosen=chosen.rung,
            rungs=kept_until(chosen.rung, self.rungs),
            float_scores={score.label: score.value for score in self.judge.scores},
            sensitivity=sensitivity,
        )
        return chosen, ladder

    def _transformed(self, now: Attempt) -> Attempt:
        """A transformer whose residual stream is not rounded, then whose activations are not
        either, if that gives more signal. What is float can be balanced, which the activations
        need: the second product of a block reads few large channels.
        """
        sums = residual_sums(now.scheme.model) - now.scheme.floats
        if not sums:
            return now
        now = self._spare(now, SUMS, sums)
        inner = inner_activations(now.scheme.model) - now.scheme.floats
        if inner and not self._surely(now.verdict):
            now = self._spare(now, ACTIVATIONS, inner, migrated)
        return now

    def _spare(
        self, now: Attempt, rung: str, nodes: frozenset[str], correction: Correction | None = None
    ) -> Attempt:
        """The same with these nodes in float, and corrected, if that gives more signal."""
        self._spared = (*self._spared, *sorted(nodes))
        scheme = replace(now.scheme, floats=now.scheme.floats | nodes)
        tried = self._candidate(rung, correction(scheme, self.bench) if correction else scheme)
        better = self._signal_db(tried.verdict) > self._signal_db(now.verdict)
        self._note(tried, kept=better)
        return tried if better else now

    def _corrected(self, now: Attempt) -> tuple[Attempt, Attempt]:
        """Correction after correction; one that takes from the signal is undone.

        Returns:
            What they make of it; and what of it layers in float are to begin with. Where a few
            layers make nearly all of the noise, what little a correction gives is fitted to that,
            and takes from what is left once those are float.
        """
        base = now
        for name, correction in self.corrections.items():
            if name == ROUNDING and not self._rounding_helps(now):
                continue
            scheme = correction(now.scheme, self.bench)
            if scheme is now.scheme:
                continue
            tried = self._candidate(name, scheme)
            gain_db = self._signal_db(tried.verdict) - self._signal_db(now.verdict)
            self._note(tried, kept=gain_db > 0)
            now = tried if gain_db > 0 else now
            base = tried if gain_db >= _WORTH_DB else base
            if self._surely(now.verdict):
                break
        return now, base

    def _rounding_helps(self, now: Attempt) -> bool:
        """Whether learned rounding, which takes longest, is worth it: where weights that are not
        rounded at all would do, or where more of the noise is theirs than the activations'.
        """
        scheme = now.scheme
        # Biases as they were: what corrects for the rounding of weights is wrong without it.
        plain = replace(scheme, weights={}).in_parts()
        real = with_real_weights(scheme.model, plain)
        verdict = self.judge.verdict(real)
        gain_db = self._signal_db(verdict) - self._signal_db(now.verdict)
        helps = self._surely(verdict) or gain_db >= _HALF_DB
        if not helps:
            bound = replace(now, rung=FLOAT_WEIGHTS, quantized=real, verdict=verdict)
            self._note(bound, kept=False)
        return helps

    def _advance(self, what: str) -> None:
        self.bench.calibration.advance(0, 0, what)

    def _base(self, found: Attempt, sensitivity: Sequence[LayerSensitivity]) -> Base:
        """What layers are chosen of, by what each loses alone."""
        signal_db = {each.name: self._signal_db(each) for each in sensitivity}
        return Base(scheme=found.scheme, signal_db=signal_db)

    def _with_whole_weights(self, now: Attempt, base: Base) -> tuple[Attempt, Attempt]:
        """The base whose weights of four bits have eight, of some layers where that suffices; and
        with those of all, which other steps go on from.
        """
        scheme = replace(base.scheme, weight_bits=WEIGHT_BITS, weights={})
        every = self._candidate(ALL_WHOLE, scheme)
        found, suffices = every, self._surely(every.verdict)
        if suffices:
            choice = cheapest(base, self.judge, self._surely, self._advance, WHOLE_WEIGHTS)
            if choice is not None and self._surely(choice.verdict):
                found = self._chose(WHOLE, every, choice)
        self._note(found, kept=suffices)
        return (found if suffices else now), every

    def _in_16_bits(self, now: Attempt, base: Base) -> tuple[Attempt, Attempt]:
        """The base with activations in 16 bits where that suffices, of all layers or of some; and
        with those of all.
        """
        scheme = replace(base.scheme, activation_bits=WIDE_BITS)
        every = self._attempt(IN_16_BITS, scheme, scheme.quantized())
        found, suffices = every, self._surely(every.verdict)
        if suffices:
            choice = cheapest(base, self.judge, self._surely, self._advance, WIDENED)
            if choice is not None and self._surely(choice.verdict):
                found = self._chose(IN_16_BITS, every, choice)
        self._note(found, kept=suffices)
        return (found if suffices else now), every

    def _wide_base(self, base: Attempt, wide: Attempt) -> list[Base]:
        """All layers in 16 bits, where that is much, though not enough: fewer are in float then."""
        gain_db = self._signal_db(wide.verdict) - self._signal_db(base.verdict)
        if gain_db < _HALF_DB:
            return []
        return [self._base(wide, self._sensitivity(wide.scheme))]

    def _in_float(self, now: Attempt, base: Attempt, bases: list[Base]) -> Attempt:
        """One of the bases with layers in float if that suffices."""
        choice = cheapest_in_float(bases, self.judge, self._surely, self._advance)
        if choice is None:
            return now
        found = self._chose(IN_FLOAT, base, choice)
        suffices = self._surely(found.verdict)
        self._note(found, kept=suffices)
        return found if suffices else now

    def _chose(self, rung: str, base: Attempt, choice: LayerChoice) -> Attempt:
        """What a choice of layers makes of the base."""
        in_float = (*base.float_layers, *choice.layers) if rung == IN_FLOAT else base.float_layers
        found = Attempt(
            rung=rung, scheme=choice.scheme, quantized=choice.quantized, verdict=choice.verdict,
            float_layers=in_float,
        )  # fmt: skip
        self._tried.append(found)
        return found

    def _trained(self, now: Attempt, retrain: Retrain) -> Attempt:
        """The trained one if that suffices; its scheme stays that of what it was made of."""
        found = self._attempt(TRAINED, now.scheme, retrain(now.quantized, now.scheme.model))
        suffices = self._surely(found.verdict)
        self._note(found, kept=suffices)
        return found if suffices else now

    def _chosen(self, last: Attempt) -> Attempt:
        if self._surely(last.verdict):
            return last
        holding = [each for each in self._tried if each.verdict.excess(self.limits) <= 0.0]
        if holding:
            return holding[0]
        return min(self._tried, key=lambda each: each.verdict.excess(self.limits))

    def _candidate(self, rung: str, scheme: Scheme) -> Attempt:
        return self._attempt(rung, scheme, scheme.quantized())

    def _attempt(self, rung: str, scheme: Scheme, quantized: "onnx.ModelProto") -> Attempt:
        verdict = self.judge.verdict(quantized)
        found = Attempt(
            rung=rung,
            scheme=scheme,
            quantized=quantized,
            verdict=verdict,
            float_layers=tuple(name for name in self._spared if name in scheme.floats),
        )
        self._tried.append(found)
        return found

    def _signal_db(self, found: Verdict | LayerSensitivity) -> float:
        """What is to be kept: the worst output's where each is held to a limit, else of all."""
        least_db = found.sqnr_db if found.least_db is None else found.least_db
        return found.sqnr_db if self.limits.min_sqnr_db is None else least_db

    def _surely(self, verdict: Verdict) -> bool:
        return verdict.excess(self.limits, surely=True) <= 0.0

    def _sensitivity(self, scheme: Scheme) -> tuple[LayerSensitivity, ...]:
        return sensitivities(scheme, self.probe, "only", self.bench.advance("sensitivity"))

    def _note(self, found: Attempt, *, kept: bool) -> None:
        self.rungs.append(found.as_rung(kept=kept))
