"""A bundle that any device can check and measure."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.conftest import toy_sums

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
