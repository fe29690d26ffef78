"""Target profiles by name: those that ship, the user's own files, and the one of this machine.

What a profile is and how its file is read are shown here, too: whoever wants one imports this.
"""

from edgekiln.targets.description import (
    Caches,
    DeviceKind,
    EmulatedBoard,
    Gpu,
    Memory,
    TargetProfile,
    Toolchain,
)
from edgekiln.targets.detect import host_profile
from edgekiln.targets.files import HOST, PROFILES, TUNING, names, read

__all__ = [
    "HOST", "PROFILES", "TUNING", "Caches", "DeviceKind", "EmulatedBoard", "Gpu", "Memory",
    "TargetProfile", "Toolchain", "load", "names",
]  # fmt: skip


def load(name: str) -> TargetProfile:
    """A profile by name, "host" being this machine's; or the one of a file, if it ends in `.toml`.

    Raises:
        ConfigError: unknown name or key, wrong type, unreadable file, or `extends` in a circle.
        UnsupportedError: no profile fits this machine.
    """
    return host_profile() if name == HOST else read(name)
