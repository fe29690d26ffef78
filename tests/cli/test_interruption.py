"""Stopping a real process in the middle, by Ctrl-C and by force, and going on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekiln.runtime.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

TRAIN = ["distill", "dscnn", "--data", "tones?limit=600", "--epochs", "4", "-o"]


def edgekiln(home: Path, *arguments: str) -> "subprocess.Popen[str]":
    program = "from edgekiln.compiler.cli import main; main()"
    environment = os.environ | {"EDGEKILN_STORE": str(home / "store"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stop_at_first_checkpoint(home: Path, how: signal.Signals) -> tuple[int, str]:
    with edgekiln(home, *TRAIN, "out.pt") as process:
        while not list(home.glob("store/scratch/*/*.ckpt")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(how)
        _, errors = process.communicate()
    return process.returncode, errors


def finish(home: Path) -> bytes:
    with edgekiln(home, *TRAIN, "out.pt") as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    return (home / "out.pt").read_bytes()


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        (signal.SIGINT, EXIT_INTERRUPTED, "interrupted; run the same command again to resume\n"),
        (signal.SIGTERM, EXIT_TERMINATED, "terminated; run the same command again to resume\n"),
    ],
)
def test_a_command_that_is_told_to_end_tidies_up_and_says_so(
    how: signal.Signals, code: int, said: str
) -> None:
    program = (
        "import signal, time\n"
        # What a shell starts in the background ignores it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from edgekiln.compiler.cli.group import edgekiln\n"
        "@edgekiln.command()\n"
        "def sleep():\n"
        "    try:\n"
        "        print('begun', flush=True)\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        print('tidied', flush=True)\n"
        "edgekiln()\n"
    )
    command = [sys.executable, "-c", program, "sleep"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(how)
        output, errors = process.communicate()
    assert (process.returncode, output, errors) == (code, "tidied\n", said)


def test_ctrl_c_before_there_is_a_command_is_one_word() -> None:
    program = (
        "import builtins\n"
        "from edgekiln.compiler.cli import main\n"
        "real = __import__\n"
        "def stopped(name, *arguments, **options):\n"
        "    if name == 'click': raise KeyboardInterrupt\n"
        "    return real(name, *arguments, **options)\n"
        "builtins.__import__ = stopped\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (EXIT_INTERRUPTED, "interrupted\n")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_training_goes_on_to_the_same_bytes(tmp_path: Path, how: signal.Signals) -> None:
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    stopped.mkdir()
    whole.mkdir()
    code, errors = stop_at_first_checkpoint(stopped, how)
    if how == signal.SIGINT:
        assert code == 130
        assert errors.endswith("interrupted; run the same command again to resume\n")
    else:
        assert code == -signal.SIGKILL
    assert not (stopped / "out.pt").exists()
    assert list(stopped.glob("store/scratch/*/*.ckpt"))
    assert finish(stopped) == finish(whole)
    assert not list(stopped.glob("store/scratch/*"))
