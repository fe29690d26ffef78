"""May this program run there? Asked before anything of it is sent."""

from pathlib import Path

from edgekiln.runtime.device.device import Device
from edgekiln.runtime.errors import BundleError
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.runtime.signature import verify


def admit(device: Device, spec: ProgramSpec, bundle: Path) -> None:
    """Verify the bundle's signature, where the device demands one, and the CPU's instructions.

    Raises:
        BundleError: not signed, by somebody else, changed since, or made for another machine.
        InputError: there is no such key.
        MissingToolError: there is no ssh-keygen, or no emulator.
        DeviceError: as the device's own methods.
    """
    if device.signers is not None:
        try:
            verify(bundle, device.signers)
        except BundleError as error:
            demand = f"{device.name} runs only what {device.signers.name} has signed"
            raise BundleError(f"{error.message}; {demand}", error.hint) from error
    device.accept(spec, str(bundle))
