"""A bundle that any device can check and measure; a farm with boards."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.conftest import toy_sums
from tests.runtime.device import farm

X = np.random.default_rng(0).uniform(0, 200, (1, 3, 4, 4)).astype(np.float32)


@pytest.fixture
def checkable(toy_bundle: Callable[..., Path], toy_runner: bytes) -> Callable[..., Path]:
    """Writes the toy with its runner and example; `wrong` changes a bit of what is expected."""

    def write(*, wrong: bool = False, runner: bytes = toy_runner, **changes: Any) -> Path:
        y = toy_sums(X).astype(np.float32)
        if wrong:
            y.view(np.uint32)[0, 1] ^= 1
        files = {
            "runner": runner,
            "example/input_0.bin": X.tobytes(),
            "example/output_0.bin": y.tobytes(),
        }
        return toy_bundle(extra=files, **changes)

    return write


@pytest.fixture(scope="module")
def tracker():
    from tvm.rpc.tracker import Tracker

    port = farm.free_port()
    running = Tracker("127.0.0.1", port=port, port_end=port + 50, silent=True)
    yield running.port
    running.terminate()


@pytest.fixture(scope="module")
def serve(tracker, tmp_path_factory):
    """Starts a board for a key; all of them end with the module's tests."""
    boards = []

    def start(key, *options):
        boards.append(farm.Board(tracker, key, tmp_path_factory.mktemp("board"), *options))
        return boards[-1]

    yield start
    for board in boards:
        board.process.kill()
        board.process.communicate()


@pytest.fixture(scope="module")
def three_boards(serve):
    """Starts three boards of a key, at once."""

    def start(key):
        with ThreadPoolExecutor(3) as starting:
            return list(starting.map(serve, [key] * 3))

    return start


@pytest.fixture(scope="module")
def two_boards(tracker, serve):
    """The tracker's port, with two boards behind it."""
    for _ in range(2):
        serve(farm.KEY)
    return tracker
