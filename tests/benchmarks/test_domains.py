"""Builds that benchmarks start as a user would."""

from pathlib import Path

import pytest

from edgekiln.benchmarks import domains


def test_a_build_has_the_store_that_its_models_are_looked_for_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "edgekiln"
    program.write_text('#!/bin/sh\necho "error: stored in $EDGEKILN_STORE" >&2\nexit 3\n')
    program.chmod(0o755)
    monkeypatch.setattr(domains, "PROGRAM", str(program))
    monkeypatch.setenv("EDGEKILN_STORE", "another")
    own = tmp_path / "store"
    said = domains.build("m.onnx", record=tmp_path / "m.json", store=own)
    assert said == f"error: stored in {own}"
    assert domains.build("m.onnx", record=tmp_path / "m.json") == "error: stored in another"
