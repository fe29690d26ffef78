"""What a trial is judged by: the task's metrics, and what a model or its program costs."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgekiln.models.tasks.metric import Better, Metric
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.text import si
from edgekiln.runtime.typed import did_you_mean

# What has to be there before it can be measured, each after the one before.
Needs = Literal["score", "model", "program", "run", "estimate"]

_PLAIN = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "KiB": 1024.0, "MiB": 1024.0**2}
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_JOULES = {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6, "μJ": 1e-6, "nJ": 1e-9}
_SHARE = {"%": 0.01}
_LIMIT = re.compile(
    r"\s*(?P<name>[^<>=]+?)\s*(?P<sign><=|>=|<|>)\s*(?P<number>[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)"
    r"\s*(?P<unit>[^\d\s]*)\s*"
)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number that a trial has."""

    name: str  # "accuracy", "digit accuracy" of several heads, "latency"
    metric: Metric
    needs: Needs

    @property
    def noisy(self) -> bool:
        """Whether measuring it again gives another number."""
        return self.needs == "run"

    @property
    def counted(self) -> bool:
        """Whether it is never below 0: a cost, or a share."""
        return self.metric.share or (self.needs != "score" and not self.maximized)

    @property
    def maximized(self) -> bool:
        """Whether more of it is better."""
        return self.metric.better == "higher"

    @property
    def units(self) -> Mapping[str, float]:
        """What a limit may be given in: unit → factor."""
        if self.metric.unit == "s":
            return _SECONDS
        if self.metric.unit == "J" and self.needs != "score":
            return _JOULES
        if self.metric.unit == "B":
            return _BYTES
        if self.metric.unit == "%" and self.metric.share:
            return _SHARE
        return _PLAIN if self.needs != "score" else {"": 1.0, self.metric.unit: 1.0}

    def told(self, value: float) -> str:
        """The value behind the measure's name."""
        return f"{self.name} {self.shown(value)}"

    def shown(self, value: float) -> str:
        """The value for people."""
        if self.needs == "run":
            return si(value, self.metric.unit)
        if self.needs != "score" and self.metric.unit in ("", "B"):
            return f"{value:,.0f} {self.metric.unit}".rstrip()
        return self.metric.shown(value)


ENERGY = "energy"


@dataclass(frozen=True, kw_only=True)
class ObjectiveFacts:
    """What trials are compared by."""

    name: str
    unit: str
    better: Better
    share: bool


def facts_of(measure: Measure) -> ObjectiveFacts:
    """What a document says of a measure."""
    metric = measure.metric
    return ObjectiveFacts(
        name=measure.name, unit=metric.unit, better=metric.better, share=metric.share
    )


def _cost(name: str, needs: Needs, unit: str = "") -> Measure:
    return Measure(name=name, metric=Metric(name=name, unit=unit, better="lower"), needs=needs)


COSTS: Mapping[str, Measure] = {
    each.name: each
    for each in (
        _cost("macs", "model"),
        _cost("parameters", "model"),
        Measure(name="sqnr", metric=Metric(name="sqnr", unit="dB"), needs="model"),
        _cost("bytes", "program", "B"),  # code and weights
        _cost("arena", "program", "B"),
        _cost("latency", "run", "s"),  # the median, measured here
        _cost(ENERGY, "run", "J"),  # of a run, with what the idle machine takes
        _cost("cycles", "estimate"),
    )
}


@dataclass(frozen=True, kw_only=True)
class MeasureLimit:
    """A measure that must be below, or above, a number."""

    measure: Measure
    sign: Literal["<", "<=", ">", ">="]
    bound: float

    def holds(self, value: float) -> bool:
        """Whether a value is as it must be."""
        match self.sign:
            case "<":
                return value < self.bound
            case "<=":
                return value <= self.bound
            case ">":
                return value > self.bound
            case ">=":
                return value >= self.bound

    def excess(self, value: float) -> float:
        """The part of the bound by which a value is beyond it; 0 or less where it holds."""
        beyond = value - self.bound if self.sign.startswith("<") else self.bound - value
        relative = beyond / (abs(self.bound) or 1.0)
        # A value that lies on a bound which does not hold there is beyond it by a hair.
        return relative if self.holds(value) or relative > 0 else 1e-12

    def __str__(self) -> str:
        return f"{self.measure.name} {self.sign} {self.measure.shown(self.bound)}"


def named_measure(name: str, known: Mapping[str, Measure], where: str) -> Measure:
    """The measure of this name. Raises ConfigError: there is none."""
    if name not in known:
        raise ConfigError(
            f"{where} {name}: nothing is measured by this name",
            did_you_mean(name, known, what="a sweep measures"),
        )
    return known[name]


def parse_limit(text: str, known: Mapping[str, Measure]) -> MeasureLimit:
    """Read "latency<5ms" or "accuracy>=90%".

    Raises:
        ConfigError: it is no comparison, or of what is not measured, or in another unit.
    """
    found = _comparison(text)
    measure = named_measure(found["name"], known, "--where")
    unit, units = found["unit"], measure.units
    number = float(found["number"])
    if units is _SHARE and not unit:
        # A share is at most 1: what is above can only be percent.
        factor = 0.01 if number > 1 else 1.0
    elif unit in units:
        factor = units[unit]
    else:
        raise ConfigError(
            f"--where {text}: {f'no unit {unit!r}' if unit else 'it has no unit'}",
            f"{measure.name} is given in {', '.join(filter(None, units)) or 'plain numbers'}",
        )
    bound = number * factor
    if not math.isfinite(bound) or (measure.metric.share and abs(bound) > 1):
        most = (
            "a share is 100 % at most" if measure.metric.share else "give a number that it may be"
        )
        raise ConfigError(f"--where {text}: nothing is as much", most)
    sign: Literal["<", "<=", ">", ">="] = found["sign"]  # type: ignore[assignment]
    least = bound < 0 if sign == "<=" else bound <= 0
    if sign.startswith("<") and least and measure.counted:
        raise ConfigError(f"--where {text}: nothing is as little", "give a number that it may be")
    return MeasureLimit(measure=measure, sign=sign, bound=bound)


def check_limit(text: str) -> None:
    """Say what is wrong with a limit before anything is known of the task, whose metrics it may be
    about. Raises ConfigError as `parse_limit`.
    """
    if _comparison(text)["name"] in COSTS:
        parse_limit(text, COSTS)


def _comparison(text: str) -> re.Match[str]:
    if found := _LIMIT.fullmatch(text):
        return found
    raise ConfigError(f"--where {text!r} is no limit", 'write --where "latency<5ms"')
