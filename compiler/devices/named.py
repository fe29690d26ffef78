"""Devices as the command line opens them: by name or address, with the profile's CPU emulated."""

from pathlib import Path

from edgekiln.compiler.devices.emulated import emulated_cpu
from edgekiln.compiler.devices.farm_progress import FarmProgress
from edgekiln.runtime import codec
from edgekiln.runtime.bundle import read_program
from edgekiln.runtime.device import address
from edgekiln.runtime.device.device import Device
from edgekiln.runtime.device.rpc import RpcDevice


def open_device(spec: str, bundle: Path | None = None) -> Device:
    """Not yet held. For `qemu` alone, the CPU is that of the bundle's target; a farm shows what it
    makes the user wait for.

    Raises:
        ConfigError: no such name, or no address.
        MissingToolError: the program that reaches it is not installed.
    """
    entry = address.find(spec)
    # An address that names a CPU itself keeps that.
    if bundle is not None and entry.url in ("qemu", "qemu:"):
        entry = address.with_cpu(entry, emulated_cpu(read_program(bundle)[0]))
    device = address.open_device(entry)
    if isinstance(device, RpcDevice):
        device.program = bundle.name if bundle is not None else ""
        device.watcher = FarmProgress()
    return device


def identity(spec: str, bundle: Path) -> str:
    """What machine a device is, in words: equal words, equal machine. Raises as `open_device`.

    DeviceError: it is busy, or cannot be reached.
    """
    with open_device(spec, bundle) as device:
        return codec.to_json(device.machine())
