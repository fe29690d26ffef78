"""`edgekiln sensitivity` of a module, as a user meets it."""

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import torch
from click.testing import Result

from edgekiln.models import artifact
from edgekiln.models import data as sets

Cli = Callable[..., Result]
DATA = "digits?limit=120&test=40&val=40&calib=20&size=8"


def test_a_table_and_a_document_show_every_part(cli: Cli, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    net = "vit?dim=8&depth=1&num_heads=1&patch=4"
    artifact.create(tmp_path / "net.pt", net, sets.load(DATA, 0), DATA, seed=0)
    lines = cli("sensitivity", "net.pt", "--part", "0.5").stdout.splitlines()
    assert lines[0].split() == ["PART", "CHANNELS", "CUT", "MACS", "SAVED", "LOSS", "ACCURACY"]
    assert any(line.startswith("blocks.0.mlp.0") and "50% (8)" in line for line in lines)
    assert any(line.startswith("blocks.0 ") and "whole" in line for line in lines)
    assert lines[-1].startswith("whole network: loss ")
    document = json.loads(cli("sensitivity", "net.pt", "--part", "0.5", "--json").stdout)
    schema = json.loads(cli("schema", "edgekiln.prune-sensitivity/1").stdout)
    jsonschema.validate(document, schema, jsonschema.Draft202012Validator)
    assert len(document["parts"]) == len(lines) - 2


def test_an_option_for_onnx_is_refused_where_a_module_is_given(cli: Cli, tmp_path: Path) -> None:
    artifact.create(tmp_path / "net.pt", "resnet8?width=8", sets.load(DATA, 0), DATA, seed=0)
    result = cli("sensitivity", "net.pt", "--mode", "all-but")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: --mode: net.pt is a module (.pt)\n"
        " hint: it is an option for a float .onnx; leave it out\n"
    )


def test_a_file_that_is_damaged_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    result = cli("sensitivity", "x.onnx")
    assert result.exit_code == 3
    assert result.stderr.startswith("error: ")
