"""`--nproc`: one command on several processes, that end together and speak with one voice."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

DATA = "digits?limit=200&test=40&val=40&calib=20&size=16"


def start(home: Path, *arguments: str) -> "subprocess.Popen[str]":
    edgekiln = Path(sys.executable).with_name("edgekiln")
    return subprocess.Popen(
        [edgekiln, *arguments, "--nproc", "2"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "EDGEKILN_STORE": str(home / "store")},
        cwd=home,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def distill(home: Path, *options: str) -> "subprocess.Popen[str]":
    return start(home, "distill", "resnet8?width=8", "-o", "net.pt", "--data", DATA, *options)


def workers_of(process: "subprocess.Popen[str]") -> list[int]:
    """The processes that it started, in their order."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in found.split()]


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def after_an_epoch(home: Path, process: "subprocess.Popen[str]") -> list[int]:
    """Return the workers when their first checkpoint is there."""
    until = time.monotonic() + 120
    while not list(home.glob("store/scratch/*/student.ckpt")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    return workers_of(process)


def test_an_error_that_all_processes_meet_is_told_once(tmp_path):
    process = start(tmp_path, "distill", "resnet8", "-o", "net.pt", "--data", "nosuch")
    out, said = process.communicate(timeout=120)
    assert process.returncode == 2
    assert (out, said.count("error: no data set or file named 'nosuch'")) == ("", 1)
    assert not (tmp_path / "net.pt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_training_and_the_same_command_goes_on(tmp_path, rank):
    process = distill(tmp_path, "--epochs", "400")
    workers = after_an_epoch(tmp_path, process)
    os.kill(workers[rank], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 10
    assert f"error: training stopped: process {rank + 1} of 2 was killed by SIGKILL\n" in said
    assert "Traceback" not in said
    assert all(is_gone(worker) for worker in workers)
    again = distill(tmp_path, "--epochs", "400")
    until = time.monotonic() + 120
    while not workers_of(again):
        assert time.monotonic() < until
        time.sleep(0.05)
    again.terminate()
    again.communicate(timeout=60)
    assert again.returncode == 143


@pytest.mark.slow
def test_who_is_ended_takes_its_processes_along(tmp_path):
    process = distill(tmp_path, "--epochs", "400")
    workers = after_an_epoch(tmp_path, process)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert said.endswith("terminated; run the same command again to resume\n")
    assert said.count("terminated") == 1
    assert all(is_gone(worker) for worker in workers)


@pytest.mark.slow
def test_a_build_trains_on_all_processes_and_one_does_the_rest(tmp_path):
    (tmp_path / "r.toml").write_text("[distill]\nepochs = 2\n[prune]\nrecovery-epochs = 1\n")
    process = start(
        tmp_path, "build", "resnet8?width=8", "--recipe", "r.toml", "--data", DATA,
        "--bench-seconds", "0", "--json",
    )  # fmt: skip
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    stages = [step["stage"] for step in json.loads(out)["steps"]]
    assert stages == ["distill", "prune", "export", "quantize", "compile"]
    assert [path.suffix for path in (tmp_path / "dist").iterdir()] == [".ekb"]
    assert list((tmp_path / "store" / "tmp").iterdir()) == []


def test_none_outlives_the_command_that_started_it_and_was_killed(tmp_path):
    process = distill(tmp_path, "--epochs", "400")
    until = time.monotonic() + 60
    while len(workers := workers_of(process)) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    process.kill()
    process.communicate(timeout=60)  # which ends when no process has its streams any more
    assert process.returncode == -signal.SIGKILL
    while not all(is_gone(worker) for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_processes_with_stores_of_their_own_end_with_one_clear_error_each(tmp_path):
    """One that finds in its store what the other trains let it wait for minutes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    edgekiln = Path(sys.executable).with_name("edgekiln")
    processes = [
        subprocess.Popen(
            [edgekiln, "distill", "resnet8?width=8", "-o", tmp_path / "net.pt", "--data", DATA],
            env={
                **os.environ, "OMP_NUM_THREADS": "1",
                "EDGEKILN_STORE": str(tmp_path / f"store{rank}"),
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            },
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]  # fmt: skip
    ended = [process.communicate(timeout=100) for process in processes]
    assert [process.returncode for process in processes] == [10, 10], ended
    for out, said in ended:
        assert out == ""
        assert said.count("error: ") == 1
        assert f"another store than the first: {tmp_path}/store1 on" in said
        assert "hint: give all of them one that they share (EDGEKILN_STORE)" in said
        assert "Traceback" not in said
    assert not (tmp_path / "net.pt").exists()
