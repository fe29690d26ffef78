"""All engines on one network, trial by trial in turn."""

import statistics
import sys
from contextlib import ExitStack
from pathlib import Path

from edgekiln.benchmarks.prepare import Entry, Prepared
from edgekiln.benchmarks.record import OURS, Absent, Layer, Row, Timing
from edgekiln.compiler.build.recipe import Precision
from edgekiln.runtime.bench import placement
from edgekiln.runtime.contenders import Contender, Facts, Placement, ProgramContender
from edgekiln.runtime.device.local import LocalDevice
from edgekiln.runtime.errors import EdgeKilnError
from edgekiln.runtime.ort_contender import OrtContender
from edgekiln.runtime.results import Trial


class PeerContender(OrtContender):
    """A peer in a process of its own, timed by the same loop as ONNX Runtime."""

    def __init__(self, entry: Entry, model: Path, place: Placement) -> None:
        super().__init__(model, place)
        self.title = entry.engine
        self._entry = entry

    def _command(self) -> list[str]:
        places = map(str, (self.placement.threads, *self.placement.cpus))
        worker = ["-m", "edgekiln.benchmarks.peers.worker", self._entry.engine]
        return [self._entry.python or sys.executable, *worker, str(self.path), *places]


def measure(
    prepared: Prepared,
    home: Path,
    *,
    precisions: tuple[Precision, ...],
    threads: int,
    trials: int,
    seconds: float,
) -> Row:
    """Trials of all engines in turn, so that a slow spell of the machine meets all of them."""
    entries = [entry for entry in prepared.entries if entry.precision in precisions]
    absent = [gone for gone in prepared.absent if gone.precision in precisions]
    found: dict[Entry, list[Trial]] = {}
    with ExitStack() as stack:
        device = stack.enter_context(LocalDevice())
        place = placement(threads, 0, device.affinity())
        contenders: dict[Entry, Contender] = {}
        for entry in entries:
            try:
                contender = _contender(entry, home / entry.file, place, device)
                contenders[entry] = stack.enter_context(contender)
            except EdgeKilnError as error:
                absent.append(
                    Absent(engine=entry.engine, precision=entry.precision, reason=error.message)
                )
        for _ in range(trials):
            for entry, contender in contenders.items():
                trial = contender.trial(seconds, seconds / 2)
                found.setdefault(entry, []).append(trial)
        facts = {entry: contender.facts() for entry, contender in contenders.items()}
    layers = {e.precision: _layers(facts[e]) for e in contenders if e.engine == OURS}
    return Row(
        network=prepared.network,
        threads=threads,
        macs=max((sum(layer.macs for layer in found) for found in layers.values()), default=0),
        differing=prepared.differing,
        checked=prepared.checked,
        timings=tuple(_timing(entry, found[entry], facts[entry]) for entry in contenders),
        absent=tuple(absent),
        layers=layers,
    )


def _contender(entry: Entry, path: Path, place: Placement, device: LocalDevice) -> Contender:
    if entry.engine == OURS:
        return ProgramContender(path, place, device, profile=True)
    if entry.engine == "onnxruntime":
        return OrtContender(path, place)
    return PeerContender(entry, path, place)


def _timing(entry: Entry, trials: list[Trial], facts: Facts) -> Timing:
    medians = [trial.median_s for trial in trials]
    median = statistics.median(medians)
    return Timing(
        engine=entry.engine,
        version=facts.engine_version,
        precision=entry.precision,
        median_s=median,
        min_s=min(trial.min_s for trial in trials),
        spread=(max(medians) - min(medians)) / median,
    )


def _layers(facts: Facts) -> tuple[Layer, ...]:
    return tuple(
        Layer(name=layer.name, op=layer.op, macs=layer.macs, latency_s=layer.latency_s)
        for layer in facts.layers
    )
