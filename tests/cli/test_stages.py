"""Stage commands: an artifact file in, an artifact file out, remembered in between."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from click.testing import Result

from edgekiln.compiler.build.recipe import Option
from edgekiln.compiler.cli.stages import option_of
from edgekiln.compiler.onnx_model.io import is_quantized, load_model
from edgekiln.runtime import bundle
from edgekiln.runtime.hints import hint_of
from tests.runtime.conftest import toy_files

Cli = Callable[..., Result]


@pytest.fixture
def float_model(cli: Cli, tmp_path: Path) -> Path:
    """An untrained ResNet-8 as ONNX, made by the command itself."""
    result = cli("export", "resnet8", "-o", "r8.onnx", "--samples", 2)
    assert result.exit_code == 0, result.stderr
    return tmp_path / "r8.onnx"


def test_export_then_quantize_gives_an_int8_model(
    cli: Cli, float_model: Path, tmp_path: Path
) -> None:
    result = cli("quantize", float_model, "-o", "deep/r8.int8.onnx", "--samples", 8, "--json")
    assert result.exit_code == 0, result.stderr
    assert is_quantized(load_model(tmp_path / "deep" / "r8.int8.onnx"))
    report = json.loads(result.stdout)
    assert (report["schema"], report["stage"]) == ("edgekiln.stage/1", "quantize")
    assert report["bytes"] == (tmp_path / "deep" / "r8.int8.onnx").stat().st_size
    assert report["metrics"]["float_ops"] == 0
    assert not report["cached"]
    again = cli("quantize", float_model, "-o", "other.onnx", "--samples", 8, "--json")
    assert json.loads(again.stdout) == report | {"output": "other.onnx", "cached": True}


def test_people_read_what_was_written(cli: Cli, float_model: Path) -> None:
    last = cli("export", "resnet8", "-o", float_model, "--samples", 2).stdout.splitlines()[-1]
    assert last.startswith("wrote ")
    assert last.endswith("KiB, cached)")


def test_a_stage_refuses_what_it_does_not_take(cli: Cli, float_model: Path) -> None:
    result = cli("export", float_model, "-o", "x.onnx")
    assert (result.exit_code, result.stderr) == (
        2,
        f"error: export: {float_model} is a float .onnx\n hint: it takes a module (.pt)\n",
    )
    result = cli("quantize", "resnet8", "-o", "x.onnx")
    assert result.exit_code == 2
    assert "quantize: 'resnet8' is not a file it can read" in result.stderr


@pytest.mark.parametrize(
    ("model", "code", "message"),
    [
        ("gone.pt", 3, "no such file: gone.pt"),
        ("resnet9", 2, "no model named 'resnet9'"),
        ("no_such_module:net", 2, "no_such_module:net: which data is it trained on?"),
    ],
)
def test_a_wrong_model_is_named(cli: Cli, model: str, code: int, message: str) -> None:
    result = cli("export", model, "-o", "x.onnx")
    assert result.exit_code == code
    assert result.stderr.startswith(f"error: {message}\n")


def test_a_model_of_the_users_own_is_found_beside_him(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\n"
        "def tiny(classes=10):\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1),\n"
        "                         nn.Flatten(), nn.Linear(8, classes))\n"
    )
    result = cli("export", "my_nets:tiny", "--data", "digits", "-o", "t.onnx", "--samples", 2)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "t.onnx").exists()


def test_a_place_that_takes_no_file_is_refused_before_the_work(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    result = cli("distill", "resnet8", "-o", "out", "--epochs", 1000)
    assert result.exit_code == 9
    assert result.stderr == (
        "error: cannot write out: it is a directory\n hint: name a file in it\n"
    )


def test_a_result_is_not_called_another_kind_of_file(cli: Cli, tmp_path: Path) -> None:
    result = cli("distill", "resnet8", "-o", "net.onnx", "--epochs", 1000)
    assert result.exit_code == 2
    assert result.stderr == (
        "error: distill: the result is a .pt file, and net.onnx would be called another one\n"
        " hint: write -o net.pt\n"
    )
    assert not (tmp_path / "net.onnx").exists()


def test_a_phase_that_says_a_thing_twice_is_told_so(cli: Cli) -> None:
    result = cli("distill", "resnet8", "-o", "net.pt", "--phase", "epochs=1,epochs=2")
    assert result.exit_code == 2
    assert "'epochs=1,epochs=2' is no row of key=value,key=value: Cannot" in result.stderr


def test_nothing_is_written_where_nothing_can_be(cli: Cli, float_model: Path) -> None:
    result = cli("export", "resnet8", "-o", float_model / "x.onnx", "--samples", 2)
    assert result.exit_code == 9
    assert result.stderr.startswith(f"error: cannot write {float_model / 'x.onnx'}: ")


@pytest.mark.parametrize(
    ("hint", "default", "arguments", "value"),
    [
        (int, 3, ["--field", "4"], 4),
        (float, 0.5, ["--field", "1"], 1.0),
        (bool, False, ["--field"], True),
        (bool, True, ["--no-field"], False),
        (str, "", [], ""),
        (str | None, None, [], None),
        (Literal["a", "b"], "a", ["--field", "b"], "b"),
        (tuple[str, ...], (), ["--field", "x", "--field", "y"], ("x", "y")),
        (tuple[int, ...], (1,), [], (1,)),
    ],
)
def test_a_field_is_an_option_of_its_type(
    hint: object, default: object, arguments: list[str], value: object
) -> None:
    import click

    option = option_of(Option(field="field", hint=hint_of(hint), default=default, help=""))
    command = click.Command("x", params=[option])
    with command.make_context("x", list(arguments)) as context:
        assert context.params["field"] == value


def test_a_program_is_packaged_for_no_other_target_than_its_own(cli: Cli, tmp_path: Path) -> None:
    bundle.write_lib(tmp_path / "toy.lib", toy_files(target="rpi5"))
    result = cli("package", "toy.lib", "-o", "toy.ekb", "--target", "rpi4")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: package: --target rpi4: toy.lib is compiled for rpi5\n hint: leave --target out, "
        "or compile the model again: edgekiln compile MODEL --target rpi4\n"
    )
    assert not (tmp_path / "toy.ekb").exists()
