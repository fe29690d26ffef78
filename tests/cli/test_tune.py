"""`edgekiln tune` as a user meets it."""

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from click.testing import Result

from edgekiln.compiler.autotune import tune
from tests.compiler.qdq_models import QdqModel

Cli = Callable[..., Result]


def model(path: Path) -> Path:
    m = QdqModel(seed=5)
    x = m.q(m.input("x", 1, 16, 8, 8), scale=0.02)
    return m.save(path, m.q(m.conv(x, 16, 16, 1, 1, out="a"), 0.3, 4))


def test_a_tuning_file_is_written_and_used(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "CANDIDATES", 2)
    path = model(tmp_path / "net.onnx")
    options = ("tune", path, "--target", "x86-64-v3", "--trials", "1")
    text = cli(*options).stdout
    assert text.startswith("LAYER")
    assert text.endswith("1 trials; wrote 1 rows to x86-64-v3.jsonl\n")
    document = json.loads(cli(*options, "--json").stdout)
    schema = json.loads(cli("schema", "edgekiln.tune/1").stdout)
    jsonschema.validate(document, schema, jsonschema.Draft202012Validator)
    assert len((tmp_path / "x86-64-v3.jsonl").read_text().splitlines()) == 1
    used = ("--target", "x86-64-v3", "--tuning", "x86-64-v3.jsonl", "-o", "net.lib")
    said = cli("compile", path, *used).stderr
    assert "note: tiles (x86-64-v3.jsonl): 1 of 1 layers measured" in said


def test_a_malformed_tuning_file_is_refused_before_anything_runs(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("{}\n")
    path = model(tmp_path / "net.onnx")
    for command in (("compile", path, "--tuning", "t.jsonl", "-o", "x.lib"),
                    ("tune", path, "--out", "t.jsonl")):  # fmt: skip
        result = cli(*command, "--target", "x86-64-v3")
        assert result.exit_code == 2
        assert result.stderr == ("error: t.jsonl, line 1: layer is missing\n hint: add layer = …\n")
