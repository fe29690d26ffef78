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
from itertools import product
from pathlib import Path

import numpy as np

from edgekiln.benchmarks import networks
from edgekiln.benchmarks.networks import CompiledNetwork, Network
from edgekiln.benchmarks.peers import PEERS
from edgekiln.benchmarks.peers.peer import Peer
from edgekiln.benchmarks.record import OURS, Absent
from edgekiln.compiler.build.recipe import PRECISIONS, Precision
from edgekiln.compiler.pipeline.artifact import sha256_of
from edgekiln.runtime import codec
from edgekiln.runtime.errors import ConfigError

_CONVERT_SECONDS = 600.0
_SAMPLES = 32  # that the other engines are calibrated on


@dataclass(frozen=True, kw_only=True)
class PreparedModel:
    """A model file of one engine, and the Python that has its runtime; "" for our own programs."""

    engine: str
    precision: Precision
    file: str  # inside the network's folder
    python: str = ""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A network, ready to be timed."""

    network: str
    entries: tuple[PreparedModel, ...] = ()
    absent: tuple[Absent, ...] = ()
    differing: int = 0  # integers that are not ONNX Runtime's, of `checked`
    checked: int = 0


@dataclass
class Workshop:
    """Where and with what the networks are prepared."""

    folder: Path
    target: str
    pythons: Sequence[str]  # each peer runs in the first that has it
    _found: dict[str, str] = field(default_factory=dict)  # distribution → Python

    def home(self, network: Network) -> Path:
        return self.folder / network.slug

    def load(self, network: Network) -> Prepared:
        """Read what `prepare` made. Raises ConfigError where there is nothing."""
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
        built = networks.build(network, home, self.target)
        differing, checked = _check(built)
        self._share(network, built)
        entries, absent = _ours(home, built), list[Absent]()
        for peer, precision in product(PEERS, PRECISIONS):
            found = self._peer(home, peer, precision)
            if isinstance(found, PreparedModel):
                entries.append(found)
            else:
                absent.append(found)
        prepared = Prepared(
            network=network.name,
            entries=tuple(entries),
            absent=tuple(absent),
            differing=differing,
            checked=checked,
        )
        (home / "prepared.json").write_text(codec.to_json(prepared), encoding="utf-8")
        return prepared

    def _share(self, network: Network, built: CompiledNetwork) -> None:
        """Write what converters start from, and remove files made from other weights."""
        home = self.home(network)
        module = home / "module.pt"
        # Models that were converted from other weights would be timed under this network's name.
        if module.is_file() and sha256_of(module) != built.module_sha256:
            for peer in PEERS:
                for old in home.glob(f"{peer.name}-*"):
                    old.unlink()
        shutil.copy(built.module, module)
        np.save(home / "samples.npy", networks.samples(network, _SAMPLES))

    def _peer(self, home: Path, peer: Peer, precision: Precision) -> PreparedModel | Absent:
        """The peer's model file, made now if it is not there."""

        def absent(reason: str) -> Absent:
            return Absent(engine=peer.name, precision=precision, reason=reason)

        if reason := (peer.without or {}).get(precision):
            return absent(reason)
        # Engines want other releases of the same packages, so each may have a Python of its own.
        python = self._python(peer)
        if not python:
            return absent(f"{peer.distribution} is not installed")
        name = f"{peer.name}-{precision}{peer.suffix}" if peer.suffix else f"{precision}.onnx"
        if not (home / name).is_file() and (
            reason := _convert(home, peer, precision, name, python)
        ):
            return absent(reason)
        return PreparedModel(engine=peer.name, precision=precision, file=name, python=python)

    def _python(self, peer: Peer) -> str:
        """The first Python that has the peer's runtime; "" for none."""
        if peer.distribution not in self._found:
            # Only its metadata: importing an engine may take seconds, and start threads.
            test = f"import importlib.metadata as m; m.version({peer.distribution!r})"
            runs = (
                (python, subprocess.run([python, "-c", test], check=False, capture_output=True))
                for python in self.pythons
            )
            found = (python for python, run in runs if run.returncode == 0)
            self._found[peer.distribution] = next(found, "")
        return self._found[peer.distribution]


def _ours(home: Path, built: CompiledNetwork) -> list[PreparedModel]:
    """Our programs, and ONNX Runtime on the models they were compiled from."""
    entries = []
    for precision, bundle in built.bundles.items():
        onnx = f"{precision}.onnx"
        shutil.copy(built.models[precision], home / onnx)
        entries += [
            PreparedModel(engine=OURS, precision=precision, file=bundle.name),
            PreparedModel(
                engine="onnxruntime", precision=precision, file=onnx, python=sys.executable
            ),
        ]
    return entries


def _convert(home: Path, peer: Peer, precision: Precision, name: str, python: str) -> str:
    """Convert; returns why there is no such file now, "" where there is."""
    # In the engine's own Python, whose packages need not go together with ours.
    command = [python, "-m", "edgekiln.benchmarks.peers.convert", peer.name, precision]
    command += [str(home / file) for file in ("module.pt", "samples.npy", name)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_CONVERT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"the conversion took more than {_CONVERT_SECONDS:.0f} s"
    words = done.stderr.strip().splitlines() or ["no reason given"]
    return words[-1] if done.returncode else ""


def _check(built: CompiledNetwork) -> tuple[int, int]:
    """Count the integers that differ from ONNX Runtime's, each layer on the same inputs.

    Raises an error if they are many, or if floats differ by more than another order of their sums.
    """
    from edgekiln.compiler.evaluation.layerwise import Gap, verify
    from edgekiln.compiler.evaluation.parity import batches_for
    from edgekiln.runtime.runner import AotRunner

    layers: list[Gap] = []
    for precision, bundle in built.bundles.items():
        model = built.models[precision]
        batches = batches_for(AotRunner.open(bundle).spec, model, data="", seed=0, samples=2)
        result = verify(bundle, model, batches)
        result.check()
        layers += result.integer_layers
    return sum(gap.differing for gap in layers), sum(gap.elements for gap in layers)
