"""How often a build reads what it has."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import Result

from edgekiln.compiler.onnx_model import validate
from edgekiln.models import zoo

Cli = Callable[..., Result]


def test_a_build_parses_each_model_once_for_all_targets(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("export", "resnet8", "-o", "r8.onnx", "--samples", 2).exit_code == 0
    parsed: Counter[str] = Counter()
    validated = validate.validated

    def counted(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
        parsed[Path(where).name] += 1
        return validated(model, where)

    monkeypatch.setattr(validate, "validated", counted)
    targets = ("--target", "x86-64-v3", "--target", "x86-avx512-vnni")
    result = cli("build", "r8.onnx", "--bench-seconds", 0, *targets)
    assert result.exit_code == 0, result.stderr
    assert parsed == {
        "r8.onnx": 1,  # at the door, to tell what it is
        "artifact.onnx": 1,
        "artifact.int8.onnx": 1,
    }


def test_a_chain_that_is_found_calls_no_factory(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a module says of itself is read without making the network."""
    arguments = ("build", "resnet8", "--skip", "distill", "--skip", "prune", "--bench-seconds", 0)
    assert cli(*arguments).exit_code == 0
    before = (tmp_path / "dist/resnet8-host.ekb").read_bytes()

    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise AssertionError("a network was made")

    monkeypatch.setattr(zoo, "build", refuse)
    monkeypatch.setattr(zoo, "make", refuse)
    assert cli(*arguments).exit_code == 0
    assert (tmp_path / "dist/resnet8-host.ekb").read_bytes() == before
