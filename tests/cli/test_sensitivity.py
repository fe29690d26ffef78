"""`edgekiln sensitivity` of a float model, as a user types it."""

import json
from pathlib import Path

import jsonschema
import pytest

from tests.cli.conftest import Cli
from tests.compiler import skewed

OPTIONS = ("--data", "digits", "--samples", "64", "--measure", "64")


@pytest.fixture(scope="module")
def net() -> bytes:
    content: bytes = skewed.skewed(skewed.fitted()).SerializeToString()
    return content


def test_every_layer_has_a_row_and_the_worst_stands_first(
    cli: Cli, tmp_path: Path, net: bytes
) -> None:
    (tmp_path / "net.onnx").write_bytes(net)
    lines = cli("sensitivity", "net.onnx", *OPTIONS).stdout.splitlines()
    assert lines[0].startswith("64 validation samples; SQNR -")
    assert lines[0].endswith("where the layer alone is integer:")
    head, *rows = lines[2:]
    assert head.split() == ["LAYER", "OP", "MAC", "SQNR", "ACCURACY,", "POINTS"]
    levels = [float(row.split(" dB")[0].split()[-1]) for row in rows]
    assert levels == sorted(levels)
    assert {"e", "d", "p", "y"} <= {row.split()[0] for row in rows}
    document = json.loads(cli("sensitivity", "net.onnx", *OPTIONS, "--json").stdout)
    schema = json.loads(cli("schema", "edgekiln.sensitivity/1").stdout)
    jsonschema.validate(document, schema)
    assert [round(layer["sqnr_db"], 1) for layer in document["layers"]] == levels


def test_a_number_of_samples_below_zero_is_refused(cli: Cli, tmp_path: Path, net: bytes) -> None:
    (tmp_path / "net.onnx").write_bytes(net)
    result = cli("sensitivity", "net.onnx", "--data", "digits", "--measure", "-1")
    assert result.exit_code == 2
    assert "sensitivity: samples = 512, measure = -1" in result.stderr


def test_an_option_for_modules_is_refused_where_a_model_is_given(
    cli: Cli, tmp_path: Path, net: bytes
) -> None:
    (tmp_path / "net.onnx").write_bytes(net)
    result = cli("sensitivity", "net.onnx", "--part", "0.5")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: --part: net.onnx is a float .onnx\n"
        " hint: it is an option for a module (.pt); leave it out\n"
    )
