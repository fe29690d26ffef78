"""Commands that look and do not build: targets, models, cache, doctor."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from edgekiln.compiler.environment import doctor
from edgekiln.compiler.pipeline.store import Store
from edgekiln.models.zoo import ENTRIES
from edgekiln.targets import profile
from edgekiln.targets.detect import fits

Cli = Callable[..., Result]


def test_targets_list_names_every_profile(cli: Cli) -> None:
    text = cli("targets", "list").stdout
    for name in profile.names():
        assert f"\n{name} " in text
    listed = json.loads(cli("targets", "list", "--json").stdout)
    assert listed["schema"] == "edgekiln.targets/1"
    assert [target["name"] for target in listed["targets"]] == list(profile.names()[1:])


def test_targets_show_prints_the_whole_profile(cli: Cli) -> None:
    text = cli("targets", "show", "x86-avx512-vnni").stdout
    assert "avx512_vnni" in text
    assert "mcpu=cascadelake" in text
    assert re.search(r"^base +x86-64-v3$", text, re.MULTILINE)
    shown = json.loads(cli("targets", "show", "x86-avx512-vnni", "--json").stdout)["targets"][0]
    assert shown["caches"]["l2"] == 1 << 20


def test_targets_detect_says_what_fits_and_why(cli: Cli) -> None:
    text = cli("targets", "detect").stdout
    detected = json.loads(cli("targets", "detect", "--json").stdout)
    for fit in fits():
        assert f"{fit.profile.name}: {'fits' if fit.fits else 'does not fit'}" in text
        if fit.missing and fit.same_machine:
            assert f"missing: {' '.join(fit.missing)}" in text
    assert detected["chosen"] == profile.load("host").base
    assert f"{detected['chosen']}: fits  ← host" in text


def test_models_list_names_the_zoo_with_input_data_and_source(cli: Cli) -> None:
    text = cli("models", "list").stdout
    for entry in ENTRIES.values():
        assert f"\n{entry.name} " in text
        assert entry.source in text
    listed = json.loads(cli("models", "list", "--json").stdout)["models"]
    assert [model["name"] for model in listed] == list(ENTRIES)


def test_cache_lists_and_removes_what_was_stored(cli: Cli, tmp_path: Path) -> None:
    assert cli("cache", "path").stdout == f"{tmp_path / 'store'}\n"
    assert cli("cache", "ls").stdout.endswith("\n0 artifacts, 0 B\n0 compiled objects, 0 B\n")
    (tmp_path / "x.pt").write_bytes(b"x" * 2048)
    key = Store().ingest(tmp_path / "x.pt", "module").key
    assert key[:12] in cli("cache", "ls").stdout
    listed = json.loads(cli("cache", "ls", "--json").stdout)["artifacts"]
    assert [(each["key"], each["kind"]) for each in listed] == [(key, "module")]
    assert cli("cache", "gc").stdout.startswith(
        "removed 0 artifacts and 0 compiled objects, freed 0 B, kept 1"
    )
    os.utime(Store().objects / key, (0, 0))
    (Store().compiled).mkdir()
    (Store().compiled / "old").write_bytes(b"code")
    os.utime(Store().compiled / "old", (0, 0))
    assert cli("cache", "ls").stdout.endswith("\n1 compiled objects, 4 B\n")
    removed = cli("cache", "gc").stdout
    assert removed.startswith("removed 1 artifacts and 1 compiled objects, freed 2.")
    assert list(Store().compiled.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("0", 0), ("1500", 1500), ("2K", 2048), ("1.5M", 3 << 19), ("1GiB", 1 << 30)],
)
def test_sizes_are_in_powers_of_1024(cli: Cli, text: str, bytes_: int, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"x")
    store = Store()
    key = store.ingest(tmp_path / "x.pt", "module").key
    del store
    size = sum(file.stat().st_size for file in (Store().objects / key).iterdir())
    os.utime(Store().objects / key, (0, 0))
    kept = json.loads(cli("cache", "gc", "--max-size", text, "--json").stdout)["kept"]
    assert kept == (size <= bytes_)


def test_a_wrong_size_is_named(cli: Cli) -> None:
    result = cli("cache", "gc", "--max-size", "lots")
    assert result.exit_code == 2
    assert "'lots' is not a size such as 500M or 2G" in result.stderr


def test_doctor_finds_what_this_machine_has(cli: Cli) -> None:
    result = cli("doctor", "--json")
    report = json.loads(result.stdout)
    checks = {(check["area"], check["name"]): check for check in report["checks"]}
    assert checks["python", "torch"]["status"] == "ok"
    assert checks["python", "torch"]["wanted"].startswith("==")
    assert checks["target host", "gcc"]["status"] == "ok"
    assert (result.exit_code, report["host_builds"]) == (0, True)
    assert cli("doctor").stdout.endswith("builds for this machine work\n")


def test_doctor_exits_5_with_the_command_that_mends(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _program: None)
    result = cli("doctor")
    assert result.exit_code == 5
    assert "gcc is not installed" in result.stdout
    assert "to mend: sudo apt-get install -y gcc libc6-dev" in result.stdout
    assert result.stdout.endswith("builds for this machine cannot work yet\n")


def test_doctor_tries_the_compiler_and_tells_its_words(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "bin" / "gcc"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'ld: cannot find -lc' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    result = cli("doctor")
    assert result.exit_code == 5
    assert "gcc cannot link a program: ld: cannot find -lc" in result.stdout


@pytest.mark.parametrize(
    ("version", "pin", "fits"),
    [
        ("2.13.0+cpu", "==2.13.0", True),
        ("2.12.1", "==2.13.0", False),
        ("0.1.15.post1", "==0.1.14.post1", False),
        ("13.1", ">=13", True),
        ("8.0.9", ">=8.1", False),
        ("1.26", ">=1.24,<3", True),
        ("3.0", "<3,>=1.24", False),
        ("1.0", "", True),
    ],
)
def test_a_version_fits_its_pin(version: str, pin: str, fits: bool) -> None:
    assert doctor.satisfies(version, pin) is fits
