"""Data-parallel training by `torchrun`; alone, everything here does nothing."""

import atexit
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch
    from torch import Tensor, nn

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among `size` that train the same network."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def device(self) -> "torch.device":
        """This rank's GPU, or the CPU."""
        import torch

        return (
            torch.device("cuda", self.local_rank)
            if torch.cuda.is_available()
            else torch.device("cpu")
        )

    def wrap(self, module: "nn.Module") -> "nn.Module":
        """`module`, averaging gradients over the ranks."""
        if self.size == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(module)

    def total(self, values: "Tensor") -> "Tensor":
        """The sum over all ranks, on each of them; changes `values`."""
        if self.size > 1:
            import torch.distributed as dist

            dist.all_reduce(values)
        return values

    def gathered(self, value: T) -> list[T]:
        """What each rank has, in the ranks' order, on each of them."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        found: list[T | None] = [None] * self.size
        dist.all_gather_object(found, value)
        return [each for each in found if each is not None]

    def any(self, flag: bool) -> bool:
        """Whether `flag` holds on any rank, so that all of them stop together."""
        import torch

        return bool(self.total(torch.tensor(float(flag), device=self.device)) > 0)

    def share(self, tensors: "Iterable[Tensor]") -> None:
        """Overwrite `tensors` by those of rank 0, e.g. batch norm statistics."""
        if self.size > 1:
            import torch.distributed as dist

            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def wait(self) -> None:
        """Return when every rank has come here."""
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier()


def join() -> World:
    """The world `torchrun` describes in the environment; joins it on the first call."""
    # WORLD_SIZE and LOCAL_RANK are torchrun's; the latter counts within one machine, as GPUs do.
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(dist.destroy_process_group)
    return World(dist.get_rank(), size, int(os.environ.get("LOCAL_RANK", "0")))
