"""`edgekiln build` for real, on an untrained network, and what can be done with its bundle."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgekiln.compiler.cli.documents import DOCUMENTS
from edgekiln.compiler.cli.group import edgekiln
from edgekiln.compiler.documents.json_schema import document_schema

Run = Callable[..., Result]

BUILD = ["build", "resnet8", "--skip", "distill", "--skip", "prune", "--bench-seconds", "0.02"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run commands in one directory with one store."""
    home = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKILN_STORE", str(home / "store"))
        patch.chdir(home)

        def invoke(*arguments: object) -> Result:
            result = CliRunner().invoke(edgekiln, [str(each) for each in arguments])
            assert result.exit_code == 0, (result.stderr, result.exception)
            return result

        yield invoke


@pytest.fixture(scope="module")
def built(run: Run) -> Result:
    return run(*BUILD)


def document(result: Result, name: str) -> dict[str, object]:
    """The JSON on stdout, which must be what `edgekiln schema` says."""
    content: dict[str, object] = json.loads(result.stdout)
    jsonschema.validate(content, document_schema(name, DOCUMENTS[name]))
    return content


def test_the_table_names_stages_engines_and_the_bundle(built: Result) -> None:
    for word in ("export", "quantize", "compile host", "edgekiln int8", "onnxruntime float"):
        assert f"│ {word} " in built.stdout
    assert "float operations: none of" in built.stdout
    assert "bundle: dist/resnet8-host.ekb" in built.stdout
    assert Path("dist/resnet8-host.ekb").is_file()


@pytest.mark.usefixtures("built")
def test_the_second_build_is_found_and_gives_the_same_bytes(run: Run) -> None:
    before = Path("dist/resnet8-host.ekb").read_bytes()
    again = document(run(*BUILD, "--json"), "edgekiln.build/1")
    assert all(step["cached"] for step in again["steps"])  # type: ignore[attr-defined]
    assert Path("dist/resnet8-host.ekb").read_bytes() == before


@pytest.mark.usefixtures("built")
def test_the_bundle_runs(run: Run) -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    np.save("x.npy", images)
    command = ("run", "dist/resnet8-host.ekb", "--input", "x.npy", "--output", "y.npy")
    answers = document(run(*command, "--json"), "edgekiln.run/1")
    assert np.load("y.npy").shape == (3, 10)
    assert len(answers["outputs"][0]["answers"]) == 3  # type: ignore[index]


@pytest.mark.usefixtures("built")
def test_the_bundle_is_measured_with_onnx_runtime_beside_it(run: Run) -> None:
    command = ("bench", "dist/resnet8-host.ekb", "--trials", 1, "--min-seconds", 0.02)
    results = document(run(*command, "--json"), "edgekiln.bench-set/2")["results"]
    engines = [(each["engine"], each["precision"]) for each in results]  # type: ignore[attr-defined]
    assert engines == [
        ("edgekiln", "int8"),
        ("onnxruntime", "int8"),
        ("onnxruntime", "float"),
    ]


@pytest.mark.usefixtures("built")
def test_the_bundle_is_verified_against_its_own_model(run: Run) -> None:
    command = ("verify", "dist/resnet8-host.ekb", "--samples", 4)
    verified = document(run(*command, "--json"), "edgekiln.verify/1")
    assert verified["agreement"] == 1.0


@pytest.mark.usefixtures("built")
def test_a_float_onnx_of_the_chain_keeps_its_history(run: Run) -> None:
    run("export", "resnet8", "-o", "r8.onnx")
    options = ("--bench-seconds", 0, "--out", "other", "--json")
    result = document(run("build", "r8.onnx", *options), "edgekiln.build/1")
    stages = [step["stage"] for step in result["steps"]]  # type: ignore[attr-defined]
    assert stages == ["input", "quantize", "compile"]
    assert result["data"] == "digits"


def test_nothing_but_json_is_on_stdout(built: Result, run: Run) -> None:  # noqa: ARG001
    program = "from edgekiln.compiler.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *BUILD, "--seed", "1", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["seed"] == 1
