"""What is timed is made once, and what cannot be made is named with its reason."""

import sys
from pathlib import Path

import pytest

from edgekiln.benchmarks import networks
from edgekiln.benchmarks.networks import CompiledNetwork
from edgekiln.benchmarks.peers import BY_NAME
from edgekiln.benchmarks.peers.peer import Peer
from edgekiln.benchmarks.prepare import PreparedModel, Workshop
from edgekiln.benchmarks.record import Absent
from edgekiln.compiler.pipeline.artifact import sha256_of
from edgekiln.runtime.errors import ConfigError

NETWORK = networks.X86[0]
# An engine that every environment has: numpy, whose "converter" there is none of.
HERE = Peer(name="here", distribution="numpy", module="no.such.module", suffix=".bin")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path, "host", [sys.executable])


def test_a_network_that_is_not_prepared_says_how_to(workshop: Workshop) -> None:
    with pytest.raises(ConfigError, match="is not prepared") as caught:
        workshop.load(NETWORK)
    assert "--build-only" in str(caught.value.hint)


def test_a_precision_an_engine_lacks_is_absent_with_the_reason(workshop: Workshop) -> None:
    found = workshop._peer(workshop.folder, BY_NAME["ncnn"], "int8")
    assert isinstance(found, Absent)
    assert "ncnn2int8" in found.reason


def test_an_engine_that_is_not_installed_is_absent(workshop: Workshop) -> None:
    nowhere = Peer(name="no", distribution="no-such-engine", module="no", suffix=".bin")
    found = workshop._peer(workshop.folder, nowhere, "int8")
    assert found == Absent(engine="no", precision="int8", reason="no-such-engine is not installed")


def test_a_model_file_that_is_there_is_not_made_again(workshop: Workshop) -> None:
    (workshop.folder / "here-int8.bin").write_bytes(b"model")
    found = workshop._peer(workshop.folder, HERE, "int8")
    assert found == PreparedModel(
        engine="here", precision="int8", file="here-int8.bin", python=sys.executable
    )


def test_a_failed_conversion_is_absent_with_the_converters_last_words(workshop: Workshop) -> None:
    found = workshop._peer(workshop.folder, HERE, "float32")
    assert isinstance(found, Absent)
    assert "here" in found.reason  # KeyError: nobody knows this engine


def test_model_files_of_other_weights_are_thrown_away(workshop: Workshop, tmp_path: Path) -> None:
    weights = tmp_path / "new.pt"
    weights.write_bytes(b"new")
    built = CompiledNetwork(bundles={}, models={}, module=weights, module_sha256=sha256_of(weights))
    home = workshop.home(NETWORK)
    home.mkdir()
    model = home / "litert-int8.tflite"
    for before in (b"old", b"new"):
        (home / "module.pt").write_bytes(before)
        model.write_bytes(b"model")
        workshop._share(NETWORK, built)
        assert model.exists() == (before == b"new")
