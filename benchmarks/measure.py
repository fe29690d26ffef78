"""All engines on one network, trial by trial in turn."""

import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from edgekiln.benchmarks.prepare import Prepared, PreparedModel
from edgekiln.benchmarks.record import OURS, Absent, LayerTiming, NetworkRow, Timing
from edgekiln.compiler.build.recipe import Precision
from edgekiln.runtime.bench import placement
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.device.local import LocalDevice
from edgekiln.runtime.engines import Engine, Facts, Placement, ProgramEngine
from edgekiln.runtime.errors import EdgeKilnError
from edgekiln.runtime.ort_engine import OrtEngine
from edgekiln.runtime.results import Trial

Held = Callable[[list[str]], list[str]]  # a command → that which runs it as on a lesser chip


def as_it_is(words: list[str]) -> list[str]:
    """Runs an engine with all that the processor has."""
    return words


class PeerEngine(OrtEngine):
    """A peer in a process of its own, timed by the same loop as ONNX Runtime, which is one."""

    def __init__(
        self, entry: PreparedModel, model: Path, place: Placement, held: Held = as_it_is
    ) -> None:
        super().__init__(model, place)
        self.title = entry.engine
        self._entry, self._held = entry, held

    def _command(self) -> list[str]:
        if self._entry.engine == "onnxruntime":
            return self._held(super()._command())
        places = map(str, (self.placement.threads, *self.placement.cpus))
        worker = ["-m", "edgekiln.benchmarks.peers.worker", self._entry.engine]
        python = self._entry.python or sys.executable
        return self._held([python, *worker, str(self.path), *places])


def measure(
    prepared: Prepared,
    home: Path,
    *,
    precisions: tuple[Precision, ...],
    threads: int,
    trials: int,
    seconds: float,
    held: Held = as_it_is,
) -> NetworkRow:
    """Time all engines in turn, so that a slow spell of the machine meets all of them."""
    entries = [entry for entry in prepared.entries if entry.precision in precisions]
    absent = [gone for gone in prepared.absent if gone.precision in precisions]
    with ExitStack() as stack:
        device = stack.enter_context(LocalDevice())
        place = placement(threads, 0, device.affinity())
        engines: dict[PreparedModel, Engine] = {}
        for entry in entries:
            try:
                engine = _engine(entry, home / entry.file, place, device, held)
                # What does not start is absent; the others are measured all the same.
                engines[entry] = stack.enter_context(engine)
            except EdgeKilnError as error:
                absent.append(
                    Absent(engine=entry.engine, precision=entry.precision, reason=error.message)
                )
        timed = in_turn(engines.values(), trials=trials, seconds=seconds)
        facts = {entry: engine.facts() for entry, engine in engines.items()}
    layers = {e.precision: _layers(facts[e]) for e in engines if e.engine == OURS}
    return NetworkRow(
        network=prepared.network,
        threads=threads,
        # As many in each precision; one may be absent.
        macs=max((sum(layer.macs for layer in found) for found in layers.values()), default=0),
        differing=prepared.differing,
        checked=prepared.checked,
        timings=tuple(
            _timing(entry, each, facts[entry]) for entry, each in zip(engines, timed, strict=True)
        ),
        absent=tuple(absent),
        layers=layers,
    )


def in_turn(engines: Iterable[Engine], *, trials: int, seconds: float) -> list[list[Trial]]:
    """The trials of each of several engines that have started, in turn."""
    running = list(engines)
    # Half as long again to warm up, which does not count.
    rounds = [[each.trial(seconds, seconds / 2) for each in running] for _ in range(trials)]
    return [list(of_one) for of_one in zip(*rounds, strict=True)]


def side_by_side(engines: Mapping[str, Engine], *, trials: int, seconds: float) -> list[str]:
    """A line for each of several engines, run in turn: its median, how often the first one's that
    is, and how far its trials lie apart.
    """
    with ExitStack() as stack:
        for engine in engines.values():
            stack.enter_context(engine)
        timed = in_turn(engines.values(), trials=trials, seconds=seconds)
    found = [median_and_spread(each) for each in timed]
    own_s, _ = found[0]
    return [
        f"{name}: {median_s * 1e6:,.1f} µs, {median_s / own_s:.2f}×, spread {spread:.1%}"
        for name, (median_s, spread) in zip(engines, found, strict=True)
    ]


def median_and_spread(trials: Sequence[Trial]) -> tuple[float, float]:
    """The median of the trials' medians in seconds, and how far they lie apart as a share of it."""
    medians = [trial.median_s for trial in trials]
    median = statistics.median(medians)
    return median, (max(medians) - min(medians)) / median


def _engine(
    entry: PreparedModel, path: Path, place: Placement, device: LocalDevice, held: Held
) -> Engine:
    if entry.engine == OURS:
        return ProgramEngine(ProgramFile.open(path), place, device, profile=True)
    return PeerEngine(entry, path, place, held)


def _timing(entry: PreparedModel, trials: list[Trial], facts: Facts) -> Timing:
    median_s, spread = median_and_spread(trials)
    return Timing(
        engine=entry.engine,
        version=facts.engine_version,
        precision=entry.precision,
        median_s=median_s,
        min_s=min(trial.min_s for trial in trials),
        spread=spread,
    )


def _layers(facts: Facts) -> tuple[LayerTiming, ...]:
    return tuple(
        LayerTiming(name=layer.name, op=layer.op, macs=layer.macs, latency_s=layer.latency_s)
        for layer in facts.layers
    )
