"""QEMU: another processor's instructions on this one. Right results, no latencies.

Programs for an operating system run in its user mode, images for a microcontroller on one of the
boards that it emulates whole.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

from edgekiln.runtime.device.device import Done
from edgekiln.runtime.device.local import LocalDevice
from edgekiln.runtime.errors import BundleError, MissingToolError, debian_hint
from edgekiln.runtime.manifest import ProgramSpec

# platform.machine() of a device → QEMU's name of it
EMULATORS = {
    "aarch64": "qemu-aarch64",
    "armv6-m": "qemu-system-arm",
    "armv7e-m": "qemu-system-arm",
    "armv7l": "qemu-arm",
    "armv8-m": "qemu-system-arm",
    "armv8.1-m": "qemu-system-arm",
    "riscv64": "qemu-riscv64",
    "x86_64": "qemu-x86_64",
}
ANY_CPU = "max"  # every feature this QEMU knows
_BARE = ("-display", "none", "-monitor", "none", "-serial", "none")


def package_of(emulator: str) -> str:
    """Debian's package with it."""
    return emulator if emulator.startswith("qemu-system") else "qemu-user"


def board_command(machine: str, image: str, arguments: Sequence[str]) -> list[str]:
    """Runs an image on an emulated board: semihosting gives it arguments, files, an exit code."""
    # A blank ends an argument and a comma an option: the image's startup knows %XX.
    given = [f",arg={quote(argument, safe='/')}" for argument in ("runner", *arguments)]
    semihosting = f"enable=on,target=native{''.join(given)}"
    command = ["qemu-system-arm", "-M", machine, *_BARE, "-semihosting-config", semihosting]
    return [*command, "-kernel", image]


class QemuDevice(LocalDevice):
    """Whether the emulated CPU has the program's features, the program's runner finds out."""

    measures = False

    def __init__(self, cpu: str = ANY_CPU) -> None:
        super().__init__()
        self.name = f"qemu:{cpu}"
        self._cpu = cpu
        self._board = ""  # the one that the program's image is for; its CPU is given with it

    def run(self, command: Sequence[str], timeout_s: float) -> Done:
        if self._board:
            command = board_command(self._board, command[0], command[1:])
        done = super().run(command, timeout_s)
        # What the program calls this CPU is QEMU's.
        return replace(done, stderr=done.stderr.replace(", this CPU lacks", f", {self.name} lacks"))

    def accept(self, spec: ProgramSpec, where: str) -> None:
        """Raises MissingToolError when this QEMU is not installed, too."""
        emulator = EMULATORS.get(spec.machine)
        if emulator is None:
            raise BundleError(
                f"{where}: made for {spec.machine} ({spec.target}), which {self.name} is not",
                hint=f"QEMU emulates {', '.join(sorted(EMULATORS))}",
            )
        if shutil.which(emulator) is None:
            raise MissingToolError(
                f"{emulator} is not installed", hint=debian_hint(package_of(emulator))
            )
        if spec.footprint:
            self._board = spec.footprint.board
        else:
            self._launcher = (emulator, "-cpu", self._cpu)
