"""A change of the code generator is a change of the program's key."""

import shutil
from pathlib import Path

import pytest

import edgekiln.compiler
from edgekiln.compiler.pipeline import fingerprint


def test_a_changed_kernel_changes_the_generators_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint.generator_sha256.__wrapped__()
    copy = tmp_path / "compiler"
    source = Path(next(iter(edgekiln.compiler.__path__)))
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(edgekiln.compiler, "__path__", [str(copy)])
    assert fingerprint.generator_sha256.__wrapped__() == before
    kernel = copy / "kernels" / "conv2d.py"
    kernel.write_text(kernel.read_text() + "# changed\n")
    assert fingerprint.generator_sha256.__wrapped__() != before
