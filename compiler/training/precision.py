"""Whether bfloat16 pays on this machine: it may be three times faster, or slower, by network."""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

from edgekiln.compiler.training.gradients import differentiate
from edgekiln.models.copies import copied
from edgekiln.models.module_ends import named_outputs

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Precision = Literal["float32", "bf16", "auto"]
_WARM_UP, _TIMED = 2, 5  # steps


def autocast(precision: Precision, device: "torch.device") -> AbstractContextManager[object]:
    """The context a forward pass runs in."""
    import torch

    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def faster(module: "nn.Module", *x: "Tensor") -> Literal["float32", "bf16"]:
    """Time a few forward and backward passes of a copy of `module` on the inputs `x` in both."""
    taken: dict[Literal["float32", "bf16"], float] = {
        "float32": _step_s(module, x, "float32"),
        "bf16": _step_s(module, x, "bf16"),
    }
    return min(taken, key=lambda name: taken[name])


def _step_s(module: "nn.Module", x: "tuple[Tensor, ...]", precision: Precision) -> float:
    """Seconds of the fastest of a few steps."""
    import torch

    # A copy: the trial leaves gradients, and batch norm's statistics of its samples.
    trial = copied(module).train()
    best = float("inf")
    for step in range(_WARM_UP + _TIMED):
        start = time.perf_counter()
        with autocast(precision, x[0].device):
            outputs = named_outputs(trial(*x), "the module")
        loss = sum(output.float().square().mean() for output in outputs.values())
        assert isinstance(loss, torch.Tensor)  # there is one output at least
        differentiate(loss)
        if x[0].is_cuda:
            # A GPU is only told what to do; the step is over when it has done it.
            torch.cuda.synchronize()
        if step >= _WARM_UP:
            best = min(best, time.perf_counter() - start)
    return best
