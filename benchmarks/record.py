"""What the suite measured: rows of timings, kept as JSON, to which later runs add."""

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgekiln.compiler.build.recipe import Precision
from edgekiln.runtime import codec
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.host import Machine

SCHEMA = "edgekiln.benchmarks/2"
FILE = "results.json"  # in the directory of the results
OURS = "edgekiln"
# The runner takes its clock's own time off each layer's: what is left of less than this is noise.
SHORTEST_S = 100e-9

# Of results whose peers are held.
HELD = (
    "Peers are held to the target's instruction set: CPUID tells them of nothing else "
    "(`benchmarks/held.py`)."
)
# Of every GMAC/s that is shown.
COUNTED = (
    "Products are counted by the definition of a convolution; Winograd's filtering needs fewer, "
    "and may go beyond the peak."
)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One engine on one network: the median of its trials' medians, and how far these are apart."""

    engine: str
    version: str
    precision: Precision
    median_s: float
    min_s: float
    spread: float  # (max - min) / median of the trials' medians


@dataclass(frozen=True, kw_only=True)
class Absent:
    """An engine that has no timing, and why."""

    engine: str
    precision: Precision
    reason: str


@dataclass(frozen=True, kw_only=True)
class LayerTiming:
    """A call of our program, timed on its own."""

    name: str
    op: str
    macs: int
    latency_s: float


def mac_per_s(layers: Iterable[LayerTiming]) -> float | None:
    """The MAC/s of these layers together; None without MACs, or too short for the clock."""
    timed = [layer for layer in layers if layer.latency_s >= SHORTEST_S]
    macs = sum(layer.macs for layer in timed)
    return macs / sum(layer.latency_s for layer in timed) if macs else None


@dataclass(frozen=True, kw_only=True)
class NetworkRow:
    """One network with one number of threads; layers by precision."""

    network: str
    threads: int
    macs: int
    differing: int  # integers that are not ONNX Runtime's, of `checked`
    checked: int
    timings: tuple[Timing, ...]
    absent: tuple[Absent, ...]
    layers: Mapping[Precision, tuple[LayerTiming, ...]]

    def timing(self, engine: str, precision: Precision) -> Timing | None:
        found = (t for t in self.timings if (t.engine, t.precision) == (engine, precision))
        return next(found, None)

    def fastest_peer(self, precision: Precision) -> Timing | None:
        peers = [t for t in self.timings if t.engine != OURS and t.precision == precision]
        return min(peers, key=lambda timing: timing.median_s, default=None)

    def speedup(self, precision: Precision) -> float | None:
        """How many times our latency the fastest peer takes; None where either is absent."""
        ours, peer = self.timing(OURS, precision), self.fastest_peer(precision)
        return peer.median_s / ours.median_s if ours and peer else None


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything in results.json. `peaks` are MAC/s on one core by precision."""

    schema: str = SCHEMA
    machine: Machine
    target: str
    trials: int
    seconds: float
    peaks: Mapping[Precision, float]
    held: bool = False  # the peers to the target's instruction set
    rows: tuple[NetworkRow, ...] = ()

    def with_row(self, row: NetworkRow, order: Iterable[str]) -> "Results":
        """The results with this row in place of an older one of its network and threads."""
        places = {name: place for place, name in enumerate(order)}
        key = (row.network, row.threads)
        rows = [other for other in self.rows if (other.network, other.threads) != key]
        rows.append(row)
        # Networks that the suites no longer have come last.
        rows.sort(key=lambda r: (r.threads, places.get(r.network, len(places))))
        return replace(self, rows=tuple(rows))

    def threads(self) -> list[int]:
        return sorted({row.threads for row in self.rows})

    def mean_speedup(self, threads: int, precision: Precision) -> float | None:
        """The geometric mean of the speedups of networks that have one."""
        found = [row.speedup(precision) for row in self.rows if row.threads == threads]
        known = [ratio for ratio in found if ratio is not None]
        return statistics.geometric_mean(known) if known else None


def load(path: Path) -> Results | None:
    """The results of earlier runs; None where there are none of this form."""
    try:
        # What an earlier form of the file has is measured again, and not converted.
        return codec.decode(Results, json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return None


def kept(folder: Path, target: str, *, held: bool) -> tuple[NetworkRow, ...]:
    """The rows of earlier runs, which the results keep beside the new ones.

    Raises:
        ConfigError: they are of another target, or of peers that were held where these are not.
    """
    found = load(folder / FILE)
    if found is None:
        return ()
    for before, now in ((f"of {found.target}", f"of {target}"), (_ways(found.held), _ways(held))):
        if before != now:
            raise ConfigError(
                f"the results in {folder} are {before}, and these would be {now}",
                "name another directory with --out",
            )
    return found.rows


def _ways(held: bool) -> str:
    return "of held peers" if held else "of peers that are not held"


def save(path: Path, results: Results) -> None:
    path.write_text(codec.to_json(results), encoding="utf-8")
