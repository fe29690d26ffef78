"""May this program run there? Asked before anything of it is started."""

from edgekiln.runtime import trust
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.device.device import Device


def admit(device: Device, opened: ProgramFile) -> None:
    """Verify the signature, where one is demanded here or there, and the CPU's instructions.

    Raises:
        BundleError, InputError, MissingToolError: as `trust.require_signature`.
        BundleError: made for another machine. MissingToolError: there is no emulator.
        DeviceError: as the device's own methods.
    """
    require_signature(device, opened)
    device.accept(opened.spec, str(opened.path))
    device.authorize(opened)


def require_signature(device: Device, opened: ProgramFile) -> None:
    """Demand the signature of somebody whom this side trusts for the device. It need not be held.

    Raises as `trust.require_signature`.
    """
    trust.require_signature(opened, device.signers, device.name)
