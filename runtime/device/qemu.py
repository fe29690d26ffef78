"""QEMU's user mode: another processor's instructions on this one. Right results, no latencies."""

import shutil

from edgekiln.runtime.device.local import LocalDevice
from edgekiln.runtime.errors import BundleError, MissingToolError
from edgekiln.runtime.manifest import ProgramSpec

# platform.machine() of a device → QEMU's name of it
EMULATORS = {
    "aarch64": "qemu-aarch64",
    "armv7l": "qemu-arm",
    "riscv64": "qemu-riscv64",
    "x86_64": "qemu-x86_64",
}
ANY_CPU = "max"  # every feature this QEMU knows


class QemuDevice(LocalDevice):
    """Whether the emulated CPU has the program's features, the program's runner finds out."""

    measures = False

    def __init__(self, cpu: str = ANY_CPU) -> None:
        super().__init__()
        self.name = f"qemu:{cpu}"
        self._cpu = cpu

    def accept(self, spec: ProgramSpec, where: str) -> None:
        """Raises MissingToolError when this QEMU is not installed, too."""
        emulator = EMULATORS.get(spec.machine)
        if emulator is None:
            raise BundleError(
                f"{where}: made for {spec.machine} ({spec.target}), which {self.name} is not",
                hint=f"QEMU's user mode emulates {', '.join(sorted(EMULATORS))}",
            )
        if shutil.which(emulator) is None:
            raise MissingToolError(
                f"{emulator} is not installed", hint="sudo apt-get install qemu-user"
            )
        self._launcher = (emulator, "-cpu", self._cpu)
