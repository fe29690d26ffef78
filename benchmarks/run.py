"""Our programs against other engines: built, checked, timed in turn, and put on a page."""

import json
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekiln.benchmarks import networks, peers
from edgekiln.benchmarks.networks import Built, Network
from edgekiln.runtime import codec, host
from edgekiln.runtime.bench import placement
from edgekiln.runtime.contenders import Contender, ProgramContender
from edgekiln.runtime.device.local import LocalDevice
from edgekiln.runtime.ort_contender import OrtContender

SCHEMA = "edgekiln.benchmarks/1"
WARMUP_S = 0.3


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One engine on one network: medians of trials, and how far the trials are apart."""

    engine: str
    version: str
    precision: str
    median_s: float
    min_s: float
    spread: float


@dataclass(frozen=True, kw_only=True)
class Layer:
    name: str
    op: str
    macs: int
    latency_s: float

    @property
    def gmac_per_s(self) -> float:
        return self.macs / self.latency_s / 1e9 if self.latency_s else 0.0


@dataclass(frozen=True, kw_only=True)
class Row:
    network: str
    macs: int
    differing: int  # integers that are not ONNX Runtime's, of `checked`
    checked: int
    timings: tuple[Timing, ...]
    layers: tuple[Layer, ...]

    def best_peer(self, precision: str = "int8") -> Timing:
        others = [t for t in self.timings if t.engine != "edgekiln" and t.precision == precision]
        return min(others, key=lambda timing: timing.median_s)

    @property
    def ours(self) -> Timing:
        return next(timing for timing in self.timings if timing.engine == "edgekiln")

    @property
    def speedup(self) -> float:
        """Over the fastest int8 peer."""
        return self.best_peer().median_s / self.ours.median_s


def measure(network: Network, built: Built, *, trials: int, seconds: float, threads: int) -> Row:
    """Trials of all engines in turn, so that a slow spell of the machine meets all of them."""
    device = LocalDevice()
    place = placement(threads, 0, device.affinity())
    program = ProgramContender(built.bundle, place, device, profile=True)
    contenders: list[tuple[str, str, Contender]] = [
        ("edgekiln", "int8", program),
        ("onnxruntime", "int8", OrtContender(built.int8, place)),
        ("onnxruntime", "float", OrtContender(built.float32, place)),
        *(
            (engine, "int8", peers.PeerContender(engine, built.int8, place))
            for engine in peers.available()
        ),
    ]
    medians: list[list[float]] = [[] for _ in contenders]
    lowest = [float("inf")] * len(contenders)
    with ExitStack() as stack:
        stack.enter_context(device)
        for _, _, contender in contenders:
            stack.enter_context(contender)
        for _ in range(trials):
            for i, (_, _, contender) in enumerate(contenders):
                trial = contender.trial(seconds, WARMUP_S)
                medians[i].append(trial.median_s)
                lowest[i] = min(lowest[i], trial.min_s)
        facts = [contender.facts() for _, _, contender in contenders]
    timings = tuple(
        Timing(
            engine=engine,
            version=facts[i].engine_version if engine != "edgekiln" else "",
            precision=precision,
            median_s=statistics.median(medians[i]),
            min_s=lowest[i],
            spread=(max(medians[i]) - min(medians[i])) / statistics.median(medians[i]),
        )
        for i, (engine, precision, _) in enumerate(contenders)
    )
    differing, checked = _check(built)
    return Row(
        network=network.name,
        macs=sum(layer.macs for layer in program.spec.layers),
        differing=differing,
        checked=checked,
        timings=timings,
        layers=tuple(
            Layer(name=layer.name, op=layer.op, macs=layer.macs, latency_s=layer.latency_s)
            for layer in facts[0].layers
        ),
    )


def _check(built: Built) -> tuple[int, int]:
    """Integers that differ from ONNX Runtime's, each layer on the same inputs; raises if many."""
    from edgekiln.compiler.chain import batches_for
    from edgekiln.compiler.verify import verify
    from edgekiln.runtime.runner import AotRunner

    spec = AotRunner.open(built.bundle).spec
    batches = batches_for(spec, built.int8, data="", seed=0, samples=2)
    result = verify(built.bundle, built.int8, batches)
    result.check()
    layers = result.integer_layers
    return sum(gap.differing for gap in layers), sum(gap.elements for gap in layers)


def run(*, target: str, trials: int, seconds: float, threads: int, only: str) -> Iterator[Row]:
    """Build all networks first, then measure while nothing else of ours runs."""
    chosen = [n for n in networks.SUITE if only.lower() in n.name.lower()]
    with tempfile.TemporaryDirectory(prefix="edgekiln-suite-") as home:
        built = [(network, networks.build(network, Path(home), target)) for network in chosen]
        for network, files in built:
            yield measure(network, files, trials=trials, seconds=seconds, threads=threads)


def document(rows: list[Row], **settings: Any) -> dict[str, Any]:
    """The JSON document: everything measured, and on what."""
    return {
        "schema": SCHEMA,
        "machine": codec.encode(host.machine()),
        **settings,
        "rows": [asdict(row) for row in rows],
        "geometric_mean_speedup": statistics.geometric_mean(row.speedup for row in rows),
    }


def markdown(rows: list[Row]) -> str:
    """A table a network a line, medians in µs; the last column is over the fastest int8 peer."""
    engines = list(dict.fromkeys((t.engine, t.precision) for row in rows for t in row.timings))
    head = ["network", "MMAC", *(f"{engine} {kind}" for engine, kind in engines), "speed-up"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        by_engine = {(t.engine, t.precision): t for t in row.timings}
        cells = [
            f"{by_engine[key].median_s * 1e6:,.1f} ±{by_engine[key].spread / 2:.0%}"
            for key in engines
        ]
        lines.append(
            f"| {row.network} | {row.macs / 1e6:,.1f} | {' | '.join(cells)} | {row.speedup:.2f}× |"
        )
    mean = statistics.geometric_mean(row.speedup for row in rows)
    return "\n".join([*lines, "", f"Geometric mean over the fastest int8 peer: {mean:.2f}×", ""])


def layer_table(row: Row) -> str:
    """Where the time of one network goes."""
    lines = [f"### {row.network}", "", "| layer | operation | µs | GMAC/s |", "|---|---|---|---|"]
    lines += [
        f"| {layer.name[-40:]} | {layer.op} | {layer.latency_s * 1e6:.2f} "
        f"| {layer.gmac_per_s:.0f} |"
        for layer in row.layers
    ]
    return "\n".join([*lines, ""])


def publish(out: Path, rows: list[Row], **settings: Any) -> None:
    """results.json and results.md."""
    out.mkdir(parents=True, exist_ok=True)
    content = json.dumps(document(rows, **settings), indent=1, ensure_ascii=False)
    (out / "results.json").write_text(content + "\n", encoding="utf-8")
    tables = "\n".join(layer_table(row) for row in rows)
    (out / "results.md").write_text(f"{markdown(rows)}\n{tables}", encoding="utf-8")
