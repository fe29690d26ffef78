"""`edgekiln ci` with damaged stores, full disks, and processes that are killed."""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.ci_project import TARGET, Project


def test_a_damaged_artifact_in_the_store_is_made_again(project: Project, sound: Project) -> None:
    store = project.home.parent / "store"
    shutil.copytree(project.env["EDGEKILN_STORE"], store)
    project.env["EDGEKILN_STORE"] = "../store"  # relative to where the command is started
    (built,) = (job.build for job in sound.result.jobs)
    assert built is not None
    key = (store / "index" / built.steps[-1].sha256).read_text()
    program = store / "objects" / key / "artifact.lib"
    content = bytearray(program.read_bytes())
    content[len(content) // 2] ^= 1
    program.write_bytes(content)
    assert project.ci("--frozen").returncode == 0
    assert project.lasting() == sound.lasting()
    assert bytes(content) != program.read_bytes()
    (job,) = project.result.jobs
    assert job.build is not None
    assert "has another checksum): made again" in job.build.steps[-1].remark


def test_a_store_that_cannot_be_written_is_named(project: Project) -> None:
    project.env["EDGEKILN_STORE"] = str(project.home / "edgekiln.toml")
    done = project.ci()
    assert (done.returncode, project.failed()) == (9, {"build": 9})
    assert f"the store {project.home}/edgekiln.toml cannot be written" in done.stderr


@contextmanager
def disk(path: Path, size: str) -> Iterator[Path]:
    """A small file system of its own, for as long as the block lasts."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    path.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if subprocess.run(options, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


def test_a_full_disk_is_named_and_with_room_the_run_goes_on(
    project: Project, sound: Project, tmp_path: Path
) -> None:
    with disk(tmp_path / "disk", "256k") as store:
        project.env["EDGEKILN_STORE"] = str(store)
        done = project.ci()
        assert (done.returncode, project.failed()) == (9, {"build": 9}), done.stderr
        assert f"no room left in the store {store}" in done.stderr
        remount(store, "size=64m")
        done = project.ci("--frozen")
        assert done.returncode == 0, done.stderr
        assert project.lasting() == sound.lasting()


def test_a_full_disk_under_dist_leaves_the_last_one_as_it_was(
    project: Project, sound: Project, tmp_path: Path
) -> None:
    with disk(tmp_path / "disk", "3m") as home:
        out = home / "dist"
        assert project.ci("--out", str(out)).returncode == 0
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        (home / "filler").write_bytes(bytes(shutil.disk_usage(home).free - 8_000))
        done = project.ci("--out", str(out))
        assert done.returncode == 9, done.stderr
        assert "No space left on device" in done.stderr + done.stdout
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before
        assert sorted(path.name for path in home.iterdir()) == ["dist", "filler"]
    assert project.ci().returncode == 0
    assert project.lasting() == sound.lasting()


def test_a_read_only_store_serves_what_it_has_and_names_what_it_cannot_keep(
    project: Project, sound: Project, tmp_path: Path
) -> None:
    with disk(tmp_path / "disk", "64m") as home:
        shutil.copytree(project.env["EDGEKILN_STORE"], home / "store")
        project.env["EDGEKILN_STORE"] = str(home / "store")
        remount(home, "ro")
        done = project.ci("--frozen")
        assert done.returncode == 0, done.stderr
        assert project.lasting() == sound.lasting()
        project.set(TARGET, "x86-avx512-vnni")  # what no other test has left in the store
        done = project.ci()
        assert (done.returncode, project.failed()) == (9, {"build": 9})
        assert f"the store {home / 'store'} cannot be written: Read-only file system" in done.stderr


def killed_at_random(sound: Project, tmp_path: Path, times: int) -> None:
    """Kill runs that begin with a cold store at random moments; the last one may finish."""
    draw = random.Random(times)
    (job,) = sound.result.jobs
    assert job.build is not None
    length = sum(step.wall_s for step in job.build.steps) + 5
    project = Project(tmp_path / "killed", tmp_path / "store", hash_seed=2)
    for _ in range(times):
        if not project.killed_after(draw.uniform(0.1, length)):
            shutil.rmtree(tmp_path / "store")
    done = project.ci()
    assert done.returncode == 0, done.stderr
    assert project.lasting() == sound.lasting()
    left = {path.name for path in project.home.iterdir()}
    assert left == {"nets", "edgekiln.toml", "edgekiln.lock", "dist"}


def test_a_killed_run_ends_in_the_same_bytes_in_another_place_and_store(
    sound: Project, tmp_path: Path
) -> None:
    killed_at_random(sound, tmp_path, times=3)


@pytest.mark.slow
def test_a_run_killed_fifty_times_ends_in_the_same_bytes(sound: Project, tmp_path: Path) -> None:
    killed_at_random(sound, tmp_path, times=50)
