"""Other engines are prepared, refused and timed in processes of their own."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekiln.benchmarks.measure import PeerEngine
from edgekiln.benchmarks.peers import PEERS, convert
from edgekiln.benchmarks.peers.peer import Peer
from edgekiln.benchmarks.prepare import PreparedModel
from edgekiln.runtime.engines import Placement
from tests.compiler.qdq_models import QdqModel


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_an_engine_is_described_without_being_installed(peer: Peer) -> None:
    module = importlib.import_module(peer.module)
    assert callable(module.prepare)
    assert bool(peer.suffix) == hasattr(module, "convert")


def test_a_conversion_that_fails_says_why_in_a_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "samples.npy", np.zeros((1, 3, 8, 8), np.float32))
    files = [str(tmp_path / name) for name in ("no.pt", "samples.npy", "out.param")]
    assert convert.main(["ncnn", "float32", *files]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["samples.npy"]


def test_a_peer_is_timed_in_its_own_process(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    m = QdqModel()
    y = m.q(m.conv(m.q(m.input("x", 1, 3, 8, 8)), 4, 3, 3, 3, out="y"))
    model = m.save(tmp_path / "int8.onnx", y)
    entry = PreparedModel(
        engine="openvino", precision="int8", file="int8.onnx", python=sys.executable
    )
    with PeerEngine(entry, model, Placement(threads=1, cpus=())) as engine:
        trial = engine.trial(0.01, 0.0)
        facts = engine.facts()
    assert 0 < trial.min_s <= trial.median_s
    assert facts.engine_version
