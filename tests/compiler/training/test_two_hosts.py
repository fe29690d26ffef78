"""Training on two hosts: network namespaces that only a cable joins, as two machines are."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

EDGEKILN = Path(sys.executable).with_name("edgekiln")
DATA = "digits?limit=200&test=40&val=40&calib=20&size=16"
HOSTS = ("0", "1")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Names of two namespaces; 10.77.0.1 and 10.77.0.2 are their addresses."""
    if not shutil.which("ip"):
        pytest.skip("needs ip (Debian: iproute2)")
    names = [f"edgekiln-{os.getpid()}-{host}" for host in HOSTS]
    made = []
    try:
        for name in names:
            try:
                ip("netns", "add", name)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
            made.append(name)
        ends = [f"ek{os.getpid() % 100_000}{host}" for host in HOSTS]
        ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for host, (name, end) in enumerate(zip(names, ends, strict=True), start=1):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "addr", "add", f"10.77.0.{host}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in made:
            ip("netns", "delete", name)


def start(host: str, rank: int, home: Path, epochs: int) -> subprocess.Popen[str]:
    launcher = [
        *("ip", "netns", "exec", host, sys.executable, "-m", "torch.distributed.run"),
        *("--nnodes", "2", "--node-rank", str(rank), "--nproc-per-node", "1"),
        *("--master-addr", "10.77.0.1", "--master-port", "29511", "--no-python"),
    ]
    command = ["distill", "resnet8?width=8", "-o", str(home / "net.pt"), "--data", DATA]
    return subprocess.Popen(
        [*launcher, str(EDGEKILN), *command, "--epochs", str(epochs)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "EDGEKILN_STORE": str(home / "store")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def lose(host: str) -> None:
    """Kill whatever runs there, as when its power goes."""
    found = subprocess.run(
        ["ip", "netns", "pids", host], check=False, capture_output=True, text=True
    )
    for pid in found.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), 9)


@contextlib.contextmanager
def running(hosts: list[str], home: Path, epochs: int) -> Iterator[list[subprocess.Popen[str]]]:
    processes = [start(host, rank, home, epochs) for rank, host in enumerate(hosts)]
    try:
        yield processes
    finally:
        for host in hosts:
            lose(host)
        for process in processes:
            process.communicate()


@pytest.mark.slow
def test_two_hosts_train_one_network(hosts: list[str], tmp_path: Path) -> None:
    with running(hosts, tmp_path, epochs=2) as processes:
        said = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "wrote" in said[0]
    assert "wrote" not in said[1]
    assert (tmp_path / "net.pt").exists()


@pytest.mark.slow
def test_where_a_host_is_lost_the_other_ends_with_one_line_and_both_go_on_later(
    hosts: list[str], tmp_path: Path
) -> None:
    with running(hosts, tmp_path, epochs=40) as (first, second):
        deadline = time.monotonic() + 120
        while not list((tmp_path / "store" / "scratch").glob("*/*.ckpt")):
            assert time.monotonic() < deadline, "no checkpoint"
            time.sleep(0.1)
        lose(hosts[1])
        second.wait(timeout=30)
        said, _ = first.communicate(timeout=120)
    assert first.returncode != 0
    ours = [line for line in said.splitlines() if line.startswith("error: ")]
    assert ours == ["error: training stopped: another of its processes ended"]
    assert not (tmp_path / "net.pt").exists()
    with running(hosts, tmp_path, epochs=40) as processes:
        assert [process.wait(timeout=240) for process in processes] == [0, 0]
    assert (tmp_path / "net.pt").exists()
