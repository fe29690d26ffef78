"""Several processes of one command that train one network: started, watched and ended together."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import IO

from edgekiln.compiler.pipeline.layout import Layout
from edgekiln.compiler.pipeline.ranks import cores_each, is_worker
from edgekiln.compiler.training.distributed import LOST, require_one_store
from edgekiln.runtime.errors import TrainingError
from edgekiln.runtime.termination import WATCHED, end_with_parent, terminate

_COMMAND = "from edgekiln.compiler.cli import main; main()"
_LOOKS_S = 0.1  # between two looks at the processes
_GRACE_S = 5.0  # for a process to end by itself
_LAST_WORDS = 2000  # bytes of what a process said last


def spread(count: int) -> None:
    """Let `count` processes run the command that this one was given, and end with their exit code.

    Return where one is enough, and in each of them.

    Raises:
        TrainingError, SystemExit: as `run_on` says.
    """
    if WATCHED in os.environ:
        _end_with(int(os.environ[WATCHED]))
    elif count > 1 and not is_worker():
        sys.exit(run_on(count, sys.argv[1:]))


def meet(store: Layout) -> None:
    """Where this is one of several processes: meet the others, and see that they have one store.

    Raises as `distributed.require_one_store`.
    """
    if is_worker():
        require_one_store(store)


def run_on(count: int, arguments: Sequence[str]) -> int:
    """Run `edgekiln` with these arguments in `count` processes that `distributed.join` joins.

    The first one speaks for all of them. None of them outlives this call.

    Returns:
        Its exit code.

    Raises:
        TrainingError: one was killed, or lost the others.
    """
    with ExitStack() as stack:
        said = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
        environment = {**os.environ, **_meeting(count), WATCHED: str(os.getpid())}
        # SIGTERM ends this process as Ctrl-C does: with its workers.
        previous = signal.signal(signal.SIGTERM, terminate)
        stack.callback(signal.signal, signal.SIGTERM, previous)
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", _COMMAND, *arguments],
                env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.DEVNULL,
                stdout=None if rank == 0 else subprocess.DEVNULL,
                stderr=None if rank == 0 else said[rank],
                # Ctrl-C comes to this process alone, which ends the others.
                start_new_session=True,
            )
            for rank in range(count)
        ]
        stack.callback(_end, workers)
        failed = _watch(workers)
        if failed is None:
            return 0
        failed = _speaker(workers, failed)
        return _verdict(failed, workers[failed].returncode, count, said[failed])


def _end_with(starter: int) -> None:
    """Let this process end when the one that started it does, even if that was killed, or told to
    end while it was starting others.
    """
    end_with_parent(signal.SIGKILL)  # which nothing that waits for another process holds up
    if os.getppid() != starter:  # it ended before
        sys.exit(LOST)


def _meeting(count: int) -> dict[str, str]:
    """Where the processes find each other, and an equal share of the cores for each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(cores_each(count))),
    }


def _watch(workers: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all to end well (None), or for the first that does not."""
    while True:
        codes = [worker.poll() for worker in workers]
        for rank, code in enumerate(codes):
            if code:
                return rank
        if all(code == 0 for code in codes):
            return None
        time.sleep(_LOOKS_S)


def _speaker(workers: Sequence[subprocess.Popen[bytes]], failed: int) -> int:
    """The one that says why, of processes that end at nearly the same time.

    That is the first one where all of them meet the same error, and has said so; and never one
    that ended because it lost another.
    """
    until = time.monotonic() + _GRACE_S
    while time.monotonic() < until:
        codes = [worker.poll() for worker in workers]
        causes = [rank for rank, code in enumerate(codes) if code not in (None, 0, LOST)]
        # Killed, a process says nothing; it is the cause whoever else ends.
        killed = [rank for rank in causes if (codes[rank] or 0) < 0]
        if killed or (causes and codes[0] is not None):
            return (killed or causes)[0]
        time.sleep(_LOOKS_S)
    return causes[0] if causes else failed


def _verdict(rank: int, code: int, count: int, said: IO[bytes]) -> int:
    """The exit code of a process that ended with an error of the user's, which is shown."""
    who = f"process {rank + 1} of {count}"
    if code < 0:
        raise TrainingError(
            f"training stopped: {who} was killed by {signal.Signals(-code).name}",
            hint="the same command goes on from its last checkpoint; with little memory, give "
            "fewer processes by --nproc, or a smaller --batch-size",
        )
    if code == LOST:
        raise TrainingError(
            f"training stopped: {who} lost the others",
            hint="the same command goes on from its last checkpoint",
        )
    if rank:
        said.seek(0, os.SEEK_END)
        said.seek(max(0, said.tell() - _LAST_WORDS))
        words = said.read().decode(errors="replace")
        # From the error on, without the progress before it.
        sys.stderr.write(words[max(0, words.rfind("error: ")) :])
    return code


def _end(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.terminate()
    until = time.monotonic() + _GRACE_S
    for worker in workers:
        try:
            worker.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
