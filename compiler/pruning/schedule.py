"""How much is left after each of several rounds."""

from typing import Literal

Schedule = Literal["linear", "cubic", "geometric"]


def kept_after(schedule: Schedule, rounds: int, share: float) -> list[float]:
    """The shares that are left after each round, the last of them `share`.

    "linear" takes the same amount in every round, "geometric" the same part of what is there, and
    "cubic" most of it in the first ones, when the network has most to spare: 1 − (1 − share)·(1 −
    (1 − t)³) at the part t of the way (Zhu and Gupta, arXiv:1710.01878, section 3).
    """
    parts = [(done + 1) / rounds for done in range(rounds)]
    if schedule == "geometric":
        return [share**part for part in parts]
    gone = parts if schedule == "linear" else [1 - (1 - part) ** 3 for part in parts]
    return [1 - (1 - share) * part for part in gone]
