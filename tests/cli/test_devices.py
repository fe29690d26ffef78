"""`edgekiln devices`, and `edgekiln bench --device`, as a user has them."""

import json
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from click.testing import Result

from edgekiln.compiler.cli.documents import DOCUMENTS
from edgekiln.compiler.devices.emulated import emulated_cpu
from edgekiln.compiler.documents.json_schema import document_schema
from edgekiln.runtime.manifest import ProgramSpec

Cli = Callable[..., Result]


@pytest.fixture(autouse=True)
def no_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEKILN_DEVICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def valid(result: Result, name: str) -> dict[str, object]:
    assert result.exit_code == 0, result.stderr
    document: dict[str, object] = json.loads(result.stdout)
    jsonschema.validate(document, document_schema(name, DOCUMENTS[name]))
    return document


def test_list_shows_names_and_addresses(cli: Cli, tmp_path: Path) -> None:
    assert (
        "no devices.toml; addresses are local, qemu[:CPU], ssh://" in cli("devices", "list").stdout
    )
    (tmp_path / "devices.toml").write_text('[pi5]\nurl = "ssh://pi@10.0.0.7"\n')
    assert "pi5   ssh://pi@10.0.0.7" in cli("devices", "list").stdout
    document = valid(cli("devices", "list", "--json"), "edgekiln.devices/1")
    assert list(document["devices"]) == ["pi5"]  # type: ignore[call-overload]


def test_check_reaches_this_machine(cli: Cli) -> None:
    result = cli("devices", "check", "local")
    assert result.exit_code == 0
    assert result.stdout.startswith("local: reached in 0.")
    assert platform.machine() in result.stdout
    document = valid(cli("devices", "check", "local", "--json"), "edgekiln.device-check/1")
    assert document["measures"] is True


def test_an_unknown_device_is_a_usage_error(cli: Cli) -> None:
    result = cli("devices", "check", "pi5")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: no device named 'pi5'\n hint: addresses are local")


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh")
def test_a_device_that_is_off_has_its_own_exit_code(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekiln.runtime.device.lease.PAUSE_S", 0.01)
    result = cli("devices", "check", "ssh://nobody@127.0.0.1:1")
    assert result.exit_code == 13
    assert "ssh://nobody@127.0.0.1:1: connection lost: " in result.stderr
    assert "Connection refused" in result.stderr


def test_serve_needs_a_tracker(cli: Cli) -> None:
    result = cli("devices", "serve", "--tracker", "nowhere", "--key", "rpi5")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (2, "error: tracker = 'nowhere'")


def test_status_needs_a_tracker(cli: Cli) -> None:
    result = cli("devices", "status")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: devices.toml names no tracker\n hint: give --tracker")
    wrong = cli("devices", "status", "--tracker", "nowhere")
    assert (wrong.exit_code, wrong.stderr.splitlines()[0]) == (2, "error: tracker = 'nowhere'")


def test_status_of_a_tracker_that_is_off_has_the_code_of_lost_devices(cli: Cli) -> None:
    result = cli("devices", "status", "--tracker", "127.0.0.1:1")
    assert (result.exit_code, result.stdout) == (13, "")
    assert result.stderr.startswith("error: tracker 127.0.0.1:1: Connection refused\n hint: start")


def test_bench_on_a_device_leaves_onnx_runtime_out(cli: Cli) -> None:
    result = cli("bench", "x.ekb", "--device", "local", "--onnx", "x.onnx")
    assert result.exit_code == 2
    assert "--onnx runs on this machine" in result.stderr


@pytest.mark.parametrize(
    ("target", "cpu"), [("rpi5", "cortex-a76"), ("x86-64-v3", "max"), ("the users own", "max")]
)
def test_qemu_alone_emulates_the_profiles_cpu(target: str, cpu: str) -> None:
    spec = ProgramSpec(
        name="x", target=target, machine="x86_64", features=(), isa="", inputs=(), outputs=(),
        arena_bytes=0, weights_bytes=0, code_bytes=0, layers=(), model_sha256="",
    )  # fmt: skip
    assert emulated_cpu(spec) == cpu
