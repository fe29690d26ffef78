"""The learning rate as a function of the step alone, so resuming needs no scheduler state."""

import math


def learning_rate(step: int, *, peak: float, total: int, warmup: int) -> float:
    """Linear warm-up over `warmup` steps to `peak`, then half a cosine to 0 at `total`."""
    if step < warmup:
        return peak * (step + 1) / warmup  # not 0 in the first step
    progress = (step - warmup) / max(1, total - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
