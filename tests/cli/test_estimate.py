"""`edgekiln estimate` as a user meets it."""

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from click.testing import Result

from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.package import PackageStage
from edgekiln.runtime import trust
from tests.compiler import artifacts
from tests.compiler.estimate.tools import require
from tests.e2e.compiled_models import build, residual_net

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that runs here."""
    home = tmp_path_factory.mktemp("estimate")
    built = build(residual_net(home / "net.onnx"), require("x86-64-v3"))
    PackageStage().run(artifacts.of(built), home / "net.ekb", StageContext(scratch=home))
    return home / "net.ekb"


def test_what_runs_here_is_measured_beside_its_estimate(cli: Cli, bundle: Path) -> None:
    text = cli("estimate", bundle).stdout
    head, *rows = (line for line in text.splitlines() if line[:5] in ("LAYER", "total"))
    assert "EST. CYCLES" in head
    assert "MEASURED" in head
    assert len(rows) == 1
    assert "estimated (llvm-mca)" in text
    assert "rank correlation" in text


def test_the_document_keeps_the_estimate_apart_from_the_measurement(cli: Cli, bundle: Path) -> None:
    document = json.loads(cli("estimate", bundle, "--model", "haswell", "--json").stdout)
    schema = json.loads(cli("schema", "edgekiln.estimate/1").stdout)
    jsonschema.validate(document, schema, jsonschema.Draft202012Validator)
    estimate, measured = document["estimate"], document["measured"]
    assert (estimate["method"], estimate["model"]) == ("estimated (llvm-mca)", "haswell")
    assert len(measured["layers_s"]) == len(estimate["layers"])
    assert -1 <= measured["rank_correlation"] <= 1


def test_a_machine_that_demands_signatures_estimates_nothing_unsigned(
    cli: Cli, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is counted is executed."""
    policy = tmp_path / "allowed_signers"
    policy.write_text("")
    monkeypatch.setattr(trust, "POLICY", policy)
    refused = cli("estimate", bundle)
    assert refused.exit_code == 8
    assert "not signed; this machine runs only what" in refused.stderr


def test_a_program_for_another_chip_is_estimated_alone(cli: Cli, tmp_path: Path) -> None:
    lib = build(residual_net(tmp_path / "net.onnx"), require("rpi4"))
    text = cli("estimate", lib).stdout
    assert "model cortex-a72" in text
    assert "MEASURED" not in text


def test_another_chips_profile_has_to_be_one(cli: Cli, bundle: Path) -> None:
    result = cli("estimate", bundle, "--target", "rpi55")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: no target named 'rpi55'\n hint: did you mean rpi5?")
