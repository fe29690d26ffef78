"""Processes that work off tasks, and what becomes of one that dies."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekiln.compiler.pipeline import worker_pool
from edgekiln.compiler.pipeline.worker_pool import WorkerCrash, WorkerPool

# Spawned processes cannot import test modules: tasks are expressions.
KILLED = "__import__('signal').raise_signal(9)"
EXITED = "__import__('os')._exit(9)"
# It says whose it is, and then goes on.
BUSY = (
    "(__import__('os').write(1, b'%d\\n' % __import__('os').getpid()), "
    "__import__('time').sleep(60))"
)


def test_every_task_is_done_and_a_death_takes_its_own_task_alone(tmp_path: Path) -> None:
    tasks = ["1 + 1", KILLED, "2 + 2", EXITED, "3 + 3", "4 + 4"]
    with WorkerPool(2, tmp_path) as pool:
        results = dict(pool.run(eval, [(task,) for task in tasks]))
    assert [results[index] for index in range(6)] == [
        2, WorkerCrash(how="killed by SIGKILL"), 4, WorkerCrash(how="exit code 9"), 6, 8,
    ]  # fmt: skip


def test_tasks_run_in_other_processes_in_the_directory_of_the_configuration(
    tmp_path: Path,
) -> None:
    with WorkerPool(1, tmp_path) as pool:
        assert list(pool.run(os.getcwd, [()])) == [(0, str(tmp_path))]
        ((_, first),), ((_, second),) = pool.run(os.getpid, [()]), pool.run(os.getpid, [()])
    assert first == second != os.getpid()


def test_a_process_that_does_not_listen_to_sigterm_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "DISMISSAL_S", 0.5)
    deaf = "__import__('signal').signal(15, 1)"
    begin = time.monotonic()
    with WorkerPool(2, tmp_path) as pool:
        done = pool.run(eval, [(deaf,), (f"({deaf}, __import__('time').sleep(100))",)])
        assert next(done)[0] == 0
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize("task", ["os.getpid, [()]", "eval, [(BUSY,)]"])
def test_processes_end_with_their_parent_however_it_ends(tmp_path: Path, task: str) -> None:
    program = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from edgekiln.compiler.pipeline.worker_pool import WorkerPool\n"
        "if __name__ == '__main__':\n"
        f"    BUSY = {BUSY!r}\n"
        "    with WorkerPool(1, Path('/')) as pool:\n"
        f"        print(next(pool.run({task}))[1], flush=True)\n"
        "        time.sleep(60)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(program)
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
