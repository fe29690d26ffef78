"""CIFAR-10 as the data loader reads it, unpacked once a session."""

import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def cifar10(shared_data, tmp_path_factory) -> str:
    """Spec of CIFAR-10 for MLPerf Tiny's models, which take raw pixels 0…255."""
    source = shared_data / "cifar10"
    target = tmp_path_factory.mktemp("cifar10") / "cifar10.npz"
    unpack = [sys.executable, source / "cifar10_codec.py", "unpack"]
    subprocess.run([*unpack, source / "cifar10_med.xz", target], check=True)
    return f"{target}?scale=1&mean=0&std=1"
