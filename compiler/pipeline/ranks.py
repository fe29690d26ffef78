"""One command on several processes: which one of them this is, in torchrun's words."""

import os


def is_worker() -> bool:
    """Whether this process is one of several that run the same command."""
    return "RANK" in os.environ


def rank() -> int:
    """Its number among them; 0, the one that speaks and publishes for all, where it is alone."""
    return int(os.environ.get("RANK", "0"))


def cores_each(count: int) -> int:
    """How many of this machine's cores each of `count` processes gets, one at least."""
    return max(1, len(os.sched_getaffinity(0)) // count)
