"""Devices as the command line opens them: by name or address, with the profile's CPU emulated."""

import shutil
import subprocess
from pathlib import Path

from edgekiln.runtime.bundle import read_program
from edgekiln.runtime.device import address
from edgekiln.runtime.device.device import Device
from edgekiln.runtime.device.qemu import ANY_CPU, EMULATORS
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


def emulated_cpu(program: ProgramSpec) -> str:
    """The target's own CPU where this QEMU knows it, else one with every feature."""
    emulator = EMULATORS.get(program.machine, "")
    try:
        wanted = profile.load(program.target).tvm.get("mcpu", ANY_CPU)
    except ConfigError:  # built from a profile of the user's own
        return ANY_CPU
    if shutil.which(emulator) is None:
        return ANY_CPU  # the device says what is missing
    listed = subprocess.run(
        [emulator, "-cpu", "help"], capture_output=True, text=True, check=False
    ).stdout
    return wanted if wanted in listed.split() else ANY_CPU
