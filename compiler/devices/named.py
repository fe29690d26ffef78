"""Devices as the command line opens them: by name or address, with the profile's CPU emulated."""

from pathlib import Path

from edgekiln.runtime import codec
from edgekiln.runtime.bundle import read_program
from edgekiln.runtime.device import address
from edgekiln.runtime.device.device import Device
from edgekiln.runtime.device.qemu import ANY_CPU
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.targets import profile


def open_device(spec: str, bundle: Path | None = None) -> Device:
    """Not yet held. For `qemu` alone, the CPU is that of the bundle's target.

    Raises:
        ConfigError: no such name, or no address.
        MissingToolError: the program that reaches it is not installed.
    """
    entry = address.find(spec)
    if bundle is not None and entry.url in ("qemu", "qemu:"):
        entry = address.with_cpu(entry, emulated_cpu(read_program(bundle)[0]))
    return address.open_device(entry)


def identity(spec: str, bundle: Path) -> str:
    """What machine a device is, in words: equal words, equal machine. Raises as `open_device`.

    DeviceError: it is busy, or cannot be reached.
    """
    with open_device(spec, bundle) as device:
        return codec.dumps(codec.encode(device.machine()))


def emulated_cpu(program: ProgramSpec) -> str:
    """What the target's profile names, else a CPU with every feature."""
    try:
        return profile.load(program.target).qemu_cpu or ANY_CPU
    except ConfigError:  # built from a profile of the user's own, which is not here
        return ANY_CPU
