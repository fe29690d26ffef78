"""Options that would switch something off unnoticed, and outputs that cannot be written."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import Result

from edgekiln.compiler.build.recipe import MAX_SEED
from edgekiln.compiler.cli.group import COMMANDS, edgekiln
from edgekiln.compiler.cli.options import MAX_PROCESSES, Finite, FiniteRange
from edgekiln.compiler.stages.compile import MAX_BATCH, CompileStage
from edgekiln.models import artifact, data
from edgekiln.runtime.errors import ConfigError, StorageError
from edgekiln.runtime.files import make_folder

Cli = Callable[..., Result]


def commands(
    group: click.Group = edgekiln, names: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """Every command, those inside of others, too."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        path = (*names, name)
        yield " ".join(path), command
        if isinstance(command, click.Group):
            yield from commands(command, path)


def test_every_number_that_an_option_takes_is_finite() -> None:
    found = 0
    for name, command in commands():
        for parameter in command.get_params(click.Context(command)):
            kind = parameter.type
            if isinstance(kind, click.types.FloatParamType):
                assert isinstance(kind, Finite | FiniteRange), f"{name}: {parameter.name}"
                found += 1
    assert found > 15
    assert {name.split()[0] for name, _ in commands()} == set(COMMANDS)


def test_a_mistyped_number_starts_no_processes_without_end() -> None:
    most = {
        name: kind.max
        for name, command in commands()
        for parameter in command.get_params(click.Context(command))
        if parameter.name in ("jobs", "nproc")
        and isinstance(kind := parameter.type, click.IntRange)
    }
    assert {"ci", "sweep", "search", "build", "distill"} <= set(most)
    assert set(most.values()) == {MAX_PROCESSES}


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "NaN", "1e999"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("build", "resnet8", "--max-drop"),
        ("build", "resnet8", "--bench-seconds"),
        ("cache", "gc", "--keep-days"),
        ("distill", "resnet8", "-o", "x.pt", "--learning-rate"),
        ("quantize", "x.onnx", "-o", "y.onnx", "--percentile"),
    ],
)
def test_what_is_no_finite_number_is_refused(
    cli: Cli, arguments: tuple[str, ...], value: str
) -> None:
    result = cli(*arguments, value)
    assert result.exit_code == 2
    assert arguments[-1] in result.stderr
    assert "is not a finite number" in result.stderr


@pytest.mark.parametrize("count", ["0", "257", "99999999999999999999999"])
def test_processes_that_no_machine_has_room_for_are_refused(cli: Cli, count: str) -> None:
    result = cli("build", "resnet8", "--nproc", count)
    assert result.exit_code == 2
    assert "is not in the range 1<=x<=256" in result.stderr


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_recipe_takes_no_other_numbers_either(cli: Cli, tmp_path: Path, value: str) -> None:
    (tmp_path / "r.toml").write_text(f"[distill]\nlearning-rate = {value}\n")
    result = cli("build", "resnet8", "--recipe", "r.toml")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (
        2,
        f"error: r.toml: [distill]: learning-rate must be a finite number, found {value}",
    )


@pytest.mark.parametrize("seed", ["12345678901234567890123", "-1", str(MAX_SEED + 1)])
def test_a_seed_that_no_generator_takes_is_refused(cli: Cli, tmp_path: Path, seed: str) -> None:
    for command in (
        ("build", "resnet8"),
        ("distill", "resnet8", "-o", "x.pt"),
        ("export", "resnet8", "-o", "x.onnx"),
    ):
        result = cli(*command, "--seed", seed)
        assert result.exit_code == 2
        assert f"0<=x<={MAX_SEED}" in result.stderr
    for text in (f"seed = {seed}\n", f"[export]\nseed = {seed}\n"):
        (tmp_path / "r.toml").write_text(text)
        result = cli("build", "resnet8", "--recipe", "r.toml")
        assert result.exit_code == 2
        if int(seed) < 1 << 63:
            assert f": seed = {int(seed)}\n" in result.stderr
            assert f"a seed is a whole number from 0 to {MAX_SEED}" in result.stderr
        else:  # TOML's own limit
            assert "seed must be a whole number that 64 bits hold\n" in result.stderr


def test_the_largest_seed_works(cli: Cli) -> None:
    result = cli("export", "resnet8", "-o", "x.onnx", "--samples", 2, "--seed", MAX_SEED)
    assert result.exit_code == 0, result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments", [["--help"], ["targets", "list"], ["models", "list", "--json"], ["cache", "ls"]]
)
def test_a_full_standard_output_is_said_in_words(arguments: list[str], tmp_path: Path) -> None:
    program = "from edgekiln.compiler.cli import main; main()"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env=os.environ | {"EDGEKILN_STORE": str(tmp_path)},
        )  # fmt: skip
    assert done.returncode == 9
    assert done.stderr == (
        "error: standard output cannot be written: No space left on device\n"
        " hint: free some space where it goes, or choose another file\n"
    )


REFUSAL = """\
error: theirs.pt: asks for 'stranger_nets:tiny' to be called, which is not of the zoo
 hint: if you trust the file and know this function: --allow-factory stranger_nets:tiny, \
or allow-factories = ["stranger_nets:tiny"] in the recipe
"""


def test_a_file_from_a_stranger_calls_nothing_until_it_is_allowed(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "stranger_nets.py").write_text(
        "from pathlib import Path\nPath('imported').touch()\n"
        "from torch import nn\n"
        "def tiny(classes=10):\n"
        "    Path('called').touch()\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1),\n"
        "                         nn.Flatten(), nn.Linear(8, classes))\n"
    )
    artifact.create(tmp_path / "theirs.pt", "stranger_nets:tiny", data.load("digits"), "digits",
                    seed=0)  # fmt: skip
    for trace in ("imported", "called"):
        (tmp_path / trace).unlink()
    sys.modules.pop("stranger_nets")
    for command in (
        ("export", "theirs.pt", "-o", "o.onnx", "--samples", 2),
        ("prune", "theirs.pt", "-o", "o.pt"),
        ("distill", "theirs.pt", "-o", "o.pt"),
        ("distill", "resnet8", "-o", "o.pt", "--teacher", "theirs.pt"),
        ("build", "theirs.pt", "--bench-seconds", 0),
    ):
        result = cli(*command)
        assert (result.exit_code, result.stderr.splitlines()[-2:]) == (
            3,
            REFUSAL.splitlines(),
        )
    assert not (tmp_path / "imported").exists()
    allowed = ("--allow-factory", "stranger_nets:tiny")
    assert cli("export", "theirs.pt", "-o", "o.onnx", "--samples", 2, *allowed).exit_code == 0
    (tmp_path / "o.onnx").unlink()
    (tmp_path / "r.toml").write_text(
        'allow-factories = ["stranger_nets:tiny"]\nskip = ["distill", "prune"]\n'
    )
    result = cli("build", "theirs.pt", "--bench-seconds", 0, "--recipe", "r.toml")
    assert result.exit_code == 0, result.stderr
    # The answer is the same where the store has the result.
    again = cli("export", "theirs.pt", "-o", "o.onnx", "--samples", 2)
    assert (again.exit_code, again.stderr) == (3, REFUSAL)
    assert not (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize("name", ["*", "nets:*", "evil", "", "nets:", ":tiny", "nets:tiny?a=1"])
def test_what_could_allow_no_factory_is_refused(cli: Cli, tmp_path: Path, name: str) -> None:
    hint = " hint: name each one whole and without arguments, as package.module:factory\n"
    result = cli("export", "resnet8", "-o", "o.onnx", "--allow-factory", name)
    said = f"error: --allow-factory: {name!r} names no factory\n{hint}"
    assert (result.exit_code, result.stderr) == (2, said)
    (tmp_path / "r.toml").write_text(f'allow-factories = ["{name}"]\n')
    result = cli("build", "resnet8", "--recipe", "r.toml")
    said = f"error: r.toml: allow-factories: {name!r} names no factory\n{hint}"
    assert (result.exit_code, result.stderr) == (2, said)


def test_a_file_that_runs_a_command_is_refused_whatever_the_function(
    cli: Cli, tmp_path: Path
) -> None:
    artifact.create(tmp_path / "net.pt", "resnet8", data.load("digits"), "digits", seed=0)
    content = torch.load(tmp_path / "net.pt", weights_only=True)
    for factory, kwargs in (
        ("torch.utils.collect_env:run", {"command": "touch hacked"}),
        ("setuptools._distutils.spawn:spawn", {"cmd": ["touch", "hacked"]}),
        ("os:system", {"command": "touch hacked"}),
    ):
        torch.save(content | {"factory": factory, "kwargs": kwargs}, tmp_path / "net.pt")
        result = cli("export", "net.pt", "-o", "o.onnx")
        assert result.exit_code == 3
        assert f"error: net.pt: asks for {factory!r} to be called" in result.stderr
    assert not (tmp_path / "hacked").exists()


def test_verify_finds_the_data_from_any_directory(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (120, 32, 32, 3), dtype=np.uint8)
    (tmp_path / "sets").mkdir()
    np.savez(tmp_path / "sets/mine.npz", x=images, y=np.arange(120) % 10)
    spec = "sets/mine.npz?test=20&val=20&calib=20"
    built = cli(
        "build", "resnet8", "--data", spec, "--skip", "distill", "--skip", "prune",
        "--bench-seconds", 0,
    )  # fmt: skip
    assert built.exit_code == 0, built.stderr
    bundle = tmp_path / "dist/resnet8-host.ekb"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    here = cli("verify", bundle, "--samples", 2)
    assert here.exit_code == 0, here.stderr
    assert "on 2 samples" in here.stdout
    (tmp_path / "sets").rename(tmp_path / "gone")
    lost = cli("verify", bundle, "--samples", 2)
    assert lost.exit_code == 2
    assert "sets/mine.npz" in lost.stderr
    assert (
        cli(
            "verify", bundle, "--samples", 2, "--data", "../gone/mine.npz?test=20&val=20&calib=20"
        ).exit_code
        == 0
    )


def test_an_error_in_the_middle_of_a_build_names_the_users_file(cli: Cli, tmp_path: Path) -> None:
    artifact.create(tmp_path / "mine.pt", "resnet8", data.load("digits"), "digits", seed=0)
    content = torch.load(tmp_path / "mine.pt", weights_only=True)
    content["state"][next(iter(content["state"]))][:] = float("nan")
    torch.save(content, tmp_path / "mine.pt")
    result = cli("distill", "mine.pt", "-o", "o.pt")
    assert result.exit_code == 3
    assert "error: mine.pt: tensor " in result.stderr
    assert str(tmp_path / "store") not in result.stderr


BEYOND = "9" * 30


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cache", "gc", "--max-size", "-1"), "'-1' is not a size such as 500M or 2G"),
        (("build", "resnet8", "--bench-seconds", BEYOND), "0<=x<=86400"),
        (("bench", "x.ekb", "--min-seconds", BEYOND), "--min-seconds"),
        (("bench", "x.ekb", "--trials", BEYOND), "--trials"),
    ],
)
def test_a_number_beyond_all_use_is_refused(
    cli: Cli, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "x.ekb").touch()
    result = cli(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_batch_beyond_all_memory_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        CompileStage(batch=int(BEYOND))
    assert caught.value.hint == f"1 to {MAX_BATCH} samples per call"


@pytest.mark.parametrize("option", ["--dump-ir", "--out"])
def test_a_folder_that_cannot_be_written_is_said_before_the_work(cli: Cli, option: str) -> None:
    result = cli("build", "resnet8", "--bench-seconds", 0, option, "/proc/nobody/writes/here")
    assert result.exit_code == 9
    assert "error: cannot write /proc/nobody/writes/here: " in result.stderr


def test_graphs_that_cannot_be_written_are_one_error() -> None:
    with pytest.raises(StorageError, match="cannot write /proc/ir: "):
        make_folder(Path("/proc/ir"))
