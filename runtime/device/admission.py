"""May this program run there? Asked before anything of it is sent."""

from pathlib import Path

from edgekiln.runtime.device.device import Device
from edgekiln.runtime.errors import BundleError
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.runtime.signature import verify


def admit(device: Device, spec: ProgramSpec, bundle: Path) -> None:
    """Verify the bundle's signature, where the device demands one, and the CPU's instructions.

    Raises:
        BundleError, InputError, MissingToolError: as `require_signature`.
        BundleError: made for another machine. MissingToolError: there is no emulator.
        DeviceError: as the device's own methods.
    """
    require_signature(device, bundle)
    device.accept(spec, str(bundle))


def require_signature(device: Device, bundle: Path) -> None:
    """Of somebody whom the device trusts, where it asks for one. The device need not be held.

    Raises:
        BundleError: not signed, by somebody else, or changed since.
        InputError: there is no such key.
        MissingToolError: there is no ssh-keygen.
    """
    if device.signers is None:
        return
    try:
        verify(bundle, device.signers)
    except BundleError as error:
        demand = f"{device.name} runs only what {device.signers.name} has signed"
        raise BundleError(f"{error.message}; {demand}", error.hint) from error
