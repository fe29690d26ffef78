"""Budgets as users write them: what may be left of a network, of which kind of cost."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.typed import did_you_mean

CostKind = Literal["macs", "parameters", "bytes", "arena", "latency"]
KINDS: tuple[CostKind, ...] = get_args(CostKind)
ON_TARGETS: tuple[CostKind, ...] = ("bytes", "arena", "latency")  # what a program tells, too
_COUNTS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_BYTES = {"B": 1.0, "KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3, "kB": 1e3, "MB": 1e6}
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
# In which an amount that is no share may be given; the first is the cost's own.
UNITS: Mapping[CostKind, Mapping[str, float]] = {
    "macs": _COUNTS,
    "parameters": _COUNTS,
    "bytes": _BYTES,
    "arena": _BYTES,
    "latency": _SECONDS,
}
_AMOUNT = re.compile(r"(?P<number>[0-9]+(\.[0-9]*)?|\.[0-9]+)\s*(?P<unit>[A-Za-zµ%]*)")
_FORM = "write KIND=AMOUNT, such as macs=0.5, bytes=64KiB or latency=2ms"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What may be left of one kind of cost: a share of the unpruned network's, or an amount."""

    kind: CostKind
    share: float | None = None  # above 0, at most 1
    amount: float | None = None  # multiply-accumulates, parameters, bytes or seconds

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `KIND=AMOUNT`. A number from 0 to 1 without a unit, or in percent, is a share;
        one up to 100 without either was meant as one, and is refused.

        Raises:
            ConfigError: another form, kind or unit, or nothing would be left.
        """
        kind, equals, given = text.partition("=")
        if not equals:
            raise ConfigError(f"prune: budget {text!r}", _FORM)
        known = next((name for name in KINDS if name == kind.strip()), None)
        if known is None:
            raise ConfigError(
                f"prune: budget {text!r}", did_you_mean(kind, KINDS, what="a budget is of")
            )
        found = _AMOUNT.fullmatch(given.strip())
        if found is None or not float(found["number"]):
            raise ConfigError(f"prune: budget {text!r}", _FORM)
        number, unit = float(found["number"]), found["unit"]
        if unit == "%" or (not unit and number <= 1):
            share = number / 100 if unit else number
            if share > 1:
                raise ConfigError(f"prune: budget {text!r}", "a share is 100 % at most")
            return cls(kind=known, share=share)
        units = UNITS[known]
        if unit not in units:
            shown = ", ".join(filter(None, units))
            raise ConfigError(
                f"prune: budget {text!r}", f"{known} is given as a share or in {shown}"
            )
        if not unit and number <= 100:
            raise ConfigError(
                f"prune: budget {text!r}",
                f"a share is 1 at most: write {known}=0.5 or {known}=50%; so few {known} leave no "
                "network",
            )
        return cls(kind=known, amount=number * units[unit])

    def share_of(self, full: float) -> float:
        """The share that may be left where the unpruned network has `full`; 1 if all may."""
        if self.share is not None:
            return self.share
        assert self.amount is not None
        return min(1.0, self.amount / full)


def parse_budgets(texts: Sequence[str]) -> tuple[Budget, ...]:
    """Read all of them. Raises ConfigError also where two are of one kind."""
    budgets = tuple(map(Budget.parse, texts))
    kinds = [budget.kind for budget in budgets]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise ConfigError(f"prune: two budgets of {kind}", "give one of each kind")
    return budgets
