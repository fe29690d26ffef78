"""Everything that is timed, made beforehand: our programs and the other engines' model files.

A folder a network, with a file for each engine and precision, and `prepared.json`. What is there
already, for the same weights, is not made again.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgekiln.benchmarks import networks
from edgekiln.benchmarks.networks import Built, Network
from edgekiln.benchmarks.peers import PEERS
from edgekiln.benchmarks.peers.peer import Peer, Precision
from edgekiln.benchmarks.record import OURS, Absent
from edgekiln.runtime import codec
from edgekiln.runtime.errors import ConfigError

_CONVERT_SECONDS = 600.0
_NO_FLOAT = "EdgeKiln builds no float programs yet"
_SAMPLES = 32  # that the other engines are calibrated on


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model file of one engine, and the Python that has its runtime; "" for our own programs."""

    engine: str
    precision: Precision
    file: str  # inside the network's folder
    python: str = ""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A network, ready to be timed."""

    network: str
    module_sha256: str  # of the weights that all engines share
    entries: tuple[Entry, ...] = ()
    absent: tuple[Absent, ...] = ()
    differing: int = 0  # integers that are not ONNX Runtime's, of `checked`
    checked: int = 0


@dataclass
class Workshop:
    """Where and with what the networks are prepared."""

    folder: Path
    target: str
    pythons: Sequence[str]  # each peer runs in the first that has it
    precisions: Sequence[Precision]
    _found: dict[str, str] = field(default_factory=dict)  # distribution → Python

    def home(self, network: Network) -> Path:
        return self.folder / network.slug

    def load(self, network: Network) -> Prepared:
        """Raises ConfigError where `prepare` has not been."""
        try:
            text = (self.home(network) / "prepared.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ConfigError(
                f"{network.name} is not prepared in {self.folder}", "run with --build-only first"
            ) from None
        return codec.decode(Prepared, json.loads(text))

    def prepare(self, network: Network) -> Prepared:
        """Build our programs, check the integer one, and convert for every peer."""
        home = self.home(network)
        home.mkdir(parents=True, exist_ok=True)
        before = self._before(network)
        built = networks.build(network, home, self.target)
        entries, absent = self._ours(home, built)
        differing, checked = _check(built)
        source = home / "module.pt"
        shutil.copy(built.module, source)
        samples = home / "samples.npy"
        np.save(samples, networks.samples(network, _SAMPLES))
        same = before is not None and before.module_sha256 == built.module_sha256
        for peer in PEERS:
            for precision in self.precisions:
                known = _known(before, peer, precision) if before and same else None
                found = known or self._convert(home, peer, precision)
                if isinstance(found, Entry):
                    entries.append(found)
                else:
                    absent.append(found)
        prepared = Prepared(
            network=network.name,
            module_sha256=built.module_sha256,
            entries=tuple(entries),
            absent=tuple(absent),
            differing=differing,
            checked=checked,
        )
        (home / "prepared.json").write_text(codec.dumps(codec.encode(prepared)), encoding="utf-8")
        return prepared

    def _before(self, network: Network) -> Prepared | None:
        try:
            return self.load(network)
        except (ConfigError, ValueError):
            return None

    def _ours(self, home: Path, built: Built) -> tuple[list[Entry], list[Absent]]:
        """Our programs, and ONNX Runtime on the models they were compiled from."""
        entries = []
        for precision in self.precisions:
            if bundle := built.bundles.get(precision):
                entries.append(Entry(engine=OURS, precision=precision, file=bundle.name))
            onnx = f"{precision}.onnx"
            shutil.copy(built.models[precision], home / onnx)
            python = sys.executable
            entries.append(
                Entry(engine="onnxruntime", precision=precision, file=onnx, python=python)
            )
        missing = [p for p in self.precisions if p not in built.bundles]
        absent = [Absent(engine=OURS, precision=p, reason=_NO_FLOAT) for p in missing]
        return entries, absent

    def _convert(self, home: Path, peer: Peer, precision: Precision) -> Entry | Absent:
        def absent(reason: str) -> Absent:
            return Absent(engine=peer.name, precision=precision, reason=reason)

        if reason := (peer.without or {}).get(precision):
            return absent(reason)
        python = self._python(peer)
        if not python:
            return absent(f"{peer.distribution} is not installed")
        if not peer.suffix:
            return Entry(
                engine=peer.name, precision=precision, file=f"{precision}.onnx", python=python
            )
        name = f"{peer.name}-{precision}{peer.suffix}"
        command = [python, "-m", "edgekiln.benchmarks.peers.convert", peer.name, precision]
        command += [str(home / file) for file in ("module.pt", "samples.npy", name)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_CONVERT_SECONDS
            )
        except subprocess.TimeoutExpired:
            return absent(f"the conversion took more than {_CONVERT_SECONDS:.0f} s")
        if done.returncode:
            return absent((done.stderr.strip().splitlines() or ["no reason given"])[-1])
        return Entry(engine=peer.name, precision=precision, file=name, python=python)

    def _python(self, peer: Peer) -> str:
        """The first that has the peer's runtime; "" for none."""
        if peer.distribution not in self._found:
            test = f"import importlib.metadata as m; m.version({peer.distribution!r})"
            runs = (
                (python, subprocess.run([python, "-c", test], check=False, capture_output=True))
                for python in self.pythons
            )
            found = (python for python, run in runs if run.returncode == 0)
            self._found[peer.distribution] = next(found, "")
        return self._found[peer.distribution]


def _known(before: Prepared, peer: Peer, precision: Precision) -> Entry | Absent | None:
    """What an earlier run made for a peer that has files of its own."""
    if not peer.suffix:
        return None
    found = (e for e in before.entries if (e.engine, e.precision) == (peer.name, precision))
    return next(found, None)


def _check(built: Built) -> tuple[int, int]:
    """Integers that differ from ONNX Runtime's, each layer on the same inputs; raises if many."""
    from edgekiln.compiler.chain import batches_for
    from edgekiln.compiler.verify import verify
    from edgekiln.runtime.runner import AotRunner

    bundle, model = built.bundles["int8"], built.models["int8"]
    batches = batches_for(AotRunner.open(bundle).spec, model, data="", seed=0, samples=2)
    result = verify(bundle, model, batches)
    result.check()
    layers = result.integer_layers
    return sum(gap.differing for gap in layers), sum(gap.elements for gap in layers)
