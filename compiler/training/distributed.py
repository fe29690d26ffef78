"""Data-parallel training by `--nproc` or `torchrun`; alone, everything here does nothing."""

import atexit
import fcntl
import os
import socket
import struct
import sys
import time
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from edgekiln.compiler.pipeline import locks
from edgekiln.compiler.pipeline.atomic_io import explained
from edgekiln.compiler.pipeline.layout import Layout
from edgekiln.runtime.errors import TrainingError
from edgekiln.runtime.termination import WATCHED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch
    from torch import Tensor, nn

T = TypeVar("T")

LOST = 75  # the exit code of a watched process whose peers are gone
_ADDRESS_OF_INTERFACE = 0x8915  # SIOCGIFADDR of Linux (netdevice(7))
_SEEN_S = 5.0  # until a file is seen on another machine
_GONE = ("gloo", "connection closed", "reset by peer", "broken pipe")


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

        # Of kernels of one pixel, whose strides mean nothing: no user can act on it.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
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

    @contextmanager
    def together(self) -> "Iterator[None]":
        """What ranks do together inside; when one is gone the others end, too.

        Raises:
            TrainingError: another rank is gone.
            SystemExit: likewise, and somebody watches, who says so.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not any(sign in str(error).lower() for sign in _GONE):
                raise
            if WATCHED in os.environ:
                sys.exit(LOST)
            raise TrainingError(
                "training stopped: another of its processes ended",
                hint="see why it did; the same command goes on from its last checkpoint",
            ) from error

    def wait(self) -> None:
        """Return when every rank has come here."""
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier()


def join() -> World:
    """The world that the environment describes; joins it on the first call."""
    # The names are torchrun's. LOCAL_RANK counts within one machine, as GPUs do.
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        if name := _interface(os.environ.get("MASTER_ADDR", "")):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
        try:
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        except (RuntimeError, ValueError) as error:
            raise TrainingError(
                "the processes of this training do not reach each other: "
                + str(error).strip().splitlines()[0],
                hint="start the same command on every machine, with one store that all of them "
                "see (EDGEKILN_STORE)",
            ) from error
        atexit.register(dist.destroy_process_group)
    return World(dist.get_rank(), size, int(os.environ.get("LOCAL_RANK", "0")))


def require_one_store(store: Layout) -> None:
    """Return where all processes look into one store: one that finds there what the others are
    about to train would let them wait for it.

    Raises:
        TrainingError: they look into several.
        StorageError: the first one cannot write there.
    """
    world = join()
    if world.size == 1:
        return
    with world.together(), ExitStack() as held:
        name = world.gathered(f"world-{uuid4().hex}")[0]
        if world.rank == 0:
            with explained(store.root):
                store.prepare()
                held.enter_context(locks.try_exclusive(store.locks / name))
        world.wait()
        place = f"{store.root} on {socket.gethostname()}"
        found = world.gathered((_appears(store.locks / name), place))
    for number, (seen, other) in enumerate(found, start=1):
        if not seen:
            raise TrainingError(
                f"process {number} of {world.size} has another store than the first: {other}, and "
                f"{found[0][1]}",
                hint="give all of them one that they share (EDGEKILN_STORE)",
            )


def _appears(path: Path) -> bool:
    until = time.monotonic() + _SEEN_S
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def _interface(master: str) -> str:
    """The network interface that leads to another machine, for gloo takes the one of the host's
    name, which often is loopback; "" where the machine is this one, or is not known.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((master, 9))  # sends nothing: it only finds the way
        except OSError:
            return ""
        address = probe.getsockname()[0]
        if address.startswith("127."):
            return ""
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode())
            try:
                answer = fcntl.ioctl(probe.fileno(), _ADDRESS_OF_INTERFACE, request)
            except OSError:
                continue  # it has no address
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return ""
