"""Processes that work off tasks. A crash takes one task with it and nothing else."""

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from edgekiln.runtime.termination import end_with_parent

T = TypeVar("T")

# A fresh interpreter each: torch, TVM and ONNX Runtime do not survive a fork.
SPAWN = multiprocessing.get_context("spawn")
DISMISSAL_S = 10.0  # for an idle process to end by itself


@dataclass(frozen=True, kw_only=True)
class WorkerCrash:
    """The process that worked on a task ended before it had a result."""

    how: str  # "killed by SIGKILL", "exit code 3"


class WorkerPool:
    """Runs tasks in processes. It is a context, at whose end, however it ends, they are ended."""

    def __init__(self, size: int, directory: Path) -> None:
        """Start at most `size` processes, which work in `directory`."""
        self.size = size
        self.directory = directory
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, tuple[int, _Worker]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:  # fmt: skip
        for worker in self._idle:
            worker.dismiss()
        busy = [worker for _, worker in self._busy.values()]
        for worker in busy:  # all at once, and then wait
            worker.process.terminate()
        for worker in busy:
            worker.end()

    def run(
        self, function: Callable[..., T], tasks: Sequence[tuple[object, ...]]
    ) -> Iterator[tuple[int, T | WorkerCrash]]:
        """Call `function(*task)` for each task; yield its index and result as they come."""
        waiting = deque(enumerate(tasks))
        while waiting or self._busy:
            while waiting and len(self._busy) < self.size:
                index, task = waiting.popleft()
                worker = self._idle.pop() if self._idle else _Worker(self.directory)
                worker.connection.send((function, task))
                self._busy[worker.connection] = (index, worker)
            # A process that has died makes its connection ready, too: there is the end of it to be
            # read.
            for connection in wait(list(self._busy)):
                assert isinstance(connection, Connection)
                index, worker = self._busy.pop(connection)
                try:
                    result: T | WorkerCrash = connection.recv()
                    # Kept: importing torch and TVM takes seconds, which the next task need not
                    # spend.
                    self._idle.append(worker)
                except EOFError:
                    result = WorkerCrash(how=worker.end())
                yield index, result


class _Worker:
    def __init__(self, directory: Path) -> None:
        self.connection, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_serve, args=(theirs, directory))
        self.process.start()
        theirs.close()  # so that its end is the process's end

    def dismiss(self) -> None:
        """Let an idle process end by itself, so that its libraries can tidy up."""
        self.connection.close()
        # The closed connection is what `_serve` waits for; one that does not end by itself is
        # stopped.
        self.process.join(DISMISSAL_S)
        self.end()

    def end(self) -> str:
        """Stop the process, if it has not ended by itself; returns how it ended."""
        self.process.terminate()
        self.process.join(DISMISSAL_S)
        self.process.kill()  # what a library, or a task, makes of SIGTERM may take for ever
        self.process.join()
        self.connection.close()
        code = self.process.exitcode or 0
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _serve(connection: Connection, directory: Path) -> None:
    """Work off tasks until the other end is closed, as it is when the parent ends in any way."""
    # A task may take hours: it does not outlive who wants its result, whatever ends that one.
    end_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this
    os.dup2(sys.stderr.fileno(), 1)  # what libraries print must not mix with --json
    os.chdir(directory)
    while True:
        try:
            function, task = connection.recv()
        except EOFError:
            return
        connection.send(function(*task))
