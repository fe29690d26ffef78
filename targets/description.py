"""What a target profile says of a device."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from edgekiln.runtime.codec import digest
from edgekiln.runtime.errors import ConfigError

_NAME = re.compile(r"\w[\w .+()-]*")
MAX_COUNT = 1 << 40  # of cores and bytes: more than there is

# What runs programs: a processor with an operating system, a chip without one, or a GPU beside a
# processor, by the interface of its driver.
DeviceKind = Literal["hosted", "microcontroller", "opencl", "cuda"]


@dataclass(frozen=True, kw_only=True)
class Caches:
    """Bytes of the cache a core uses, shared or not; 0 where there is none."""

    l1d: int
    l2: int
    l3: int


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """How the C parts are compiled and linked for the target."""

    cc: str  # e.g. "gcc", "aarch64-linux-gnu-gcc"
    cflags: tuple[str, ...] = ()
    ldflags: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()  # Debian packages that bring it


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a microcontroller has for program, weights and data, bytes."""

    flash_bytes: int
    ram_bytes: int


@dataclass(frozen=True, kw_only=True)
class EmulatedBoard:
    """A board of QEMU's with the microcontroller's core: where programs for it are checked."""

    machine: str  # of `qemu-system-arm -M`
    code_origin: int  # addresses of its memories
    code_bytes: int
    ram_origin: int
    ram_bytes: int
    vectors_origin: int = 0  # where the core looks for its vectors after reset


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU: what its driver speaks."""

    api: Literal["opencl", "cuda"]


@dataclass(frozen=True, kw_only=True)
class TargetProfile:
    """One device. `tvm` is given to `tvm.target.Target` unchanged."""

    name: str
    description: str
    tvm: Mapping[str, Any]  # whatever TVM's targets take
    isa: str  # key of edgekiln.targets.isa.MICROKERNELS
    features: tuple[str, ...]  # CPU flags the program needs, as /proc/cpuinfo spells them
    machine: str  # platform.machine() of the device: "x86_64", "aarch64"
    cores: int
    caches: Caches
    channel_multiple: int  # pruned widths are multiples of this: the vector's lanes
    toolchain: Toolchain
    # What a machine with this chip says of itself, see `runtime.host.identities`. Empty: it is the
    # profile of every chip with its features.
    recognized_by: tuple[str, ...] = ()
    qemu_cpu: str = ""  # QEMU's model that has these features, for `--device qemu:…`
    scheduling_model: str = ""  # the processor whose pipeline LLVM models most like this one's
    meter: str = "auto"  # power meter; "none" where there is no sensor
    memory: Memory | None = None  # of a microcontroller: there is no operating system
    board: EmulatedBoard | None = None  # what stands in for it, with QEMU
    gpu: Gpu | None = None  # what runs the program, beside the processor of `machine`
    bases: tuple[str, ...] = ()  # the profiles this one was derived from, nearest first

    def __post_init__(self) -> None:
        """Raises ConfigError for what no device is, so that later code need not look again."""
        # It is a part of files' names.
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"target name = {self.name!r}",
                "it is a part of file names: letters, digits, blanks, dots, - and _ are",
            )
        try:
            digest(self.tvm)  # as the keys of a store have it
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"target {self.name}: [tvm]: {error}", "give texts, whole numbers and lists of them"
            ) from error
        for key, number, least in self._counts():
            if not least <= number <= MAX_COUNT:
                raise ConfigError(
                    f"target {self.name}: {key} = {number}", f"give {least} to {MAX_COUNT}"
                )

    def _counts(self) -> "Iterator[tuple[str, int, int]]":
        """Numbers with their names, and what each is at least."""
        yield "cores", self.cores, 1
        yield "channel-multiple", self.channel_multiple, 1
        for part, least in ((self.caches, 0), (self.memory, 1), (self.board, 0)):
            if part is not None:
                for each in fields(part):
                    if isinstance(number := getattr(part, each.name), int):
                        yield each.name.replace("_", "-"), number, least

    @property
    def kind(self) -> DeviceKind:
        """What the device is; a profile with `[memory]` is a microcontroller's."""
        if self.gpu:
            return self.gpu.api
        return "microcontroller" if self.memory else "hosted"

    @property
    def soft_float(self) -> bool:
        """Whether there are no instructions for floats, but functions."""
        return self.tvm.get("mfloat-abi") == "soft"

    @property
    def integer_edges(self) -> bool:
        """Whether programs take and give codes: a sensor gives codes, and to convert takes flash
        and time. Elsewhere users give and get float32, as the model they trained does.
        """
        return self.kind == "microcontroller"

    @property
    def base(self) -> str:
        """The profile this one was derived from; empty: none."""
        return self.bases[0] if self.bases else ""
