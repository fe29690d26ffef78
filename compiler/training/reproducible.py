"""Random numbers and algorithms that repeat."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager


def seed_everything(*parts: int) -> None:
    """Seed Python, numpy and torch from `parts`, e.g. (seed, epoch, rank).

    Called at each epoch's start: the state of every generator is then a function of the epoch, and
    a checkpoint need not hold it, on any number of ranks.
    """
    import numpy as np
    import torch

    seed = derived_seed(*parts)
    random.seed(seed)
    np.random.seed(seed)  # for users' modules: nothing of ours draws from it
    torch.manual_seed(seed)


def derived_seed(*parts: int) -> int:
    """One 32-bit seed of several numbers; near inputs give unrelated seeds."""
    import numpy as np

    # SeedSequence takes no numbers below 0, which a user's seed may be.
    return int(np.random.SeedSequence([part & 0xFFFFFFFF for part in parts]).generate_state(1)[0])


@contextmanager
def reproducible() -> Iterator[None]:
    """Deterministic algorithms inside; the caller's generators and settings are as before after."""
    import numpy as np
    import torch

    # cuBLAS is deterministic only with a workspace of fixed size, read at its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    python_state, numpy_state = random.getstate(), np.random.get_state()
    before = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        with torch.random.fork_rng():
            torch.use_deterministic_algorithms(True)
            # Filling finds bugs that read memory before writing it, at a price on every allocation.
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
            yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        random.setstate(python_state)
        np.random.set_state(numpy_state)
