"""What the operating system wants to be asked for before a program may use it."""

import ctypes
import os
from collections.abc import Collection

from edgekiln.runtime.errors import BundleError

# Linux: Documentation/arch/x86/xstate.rst and arch/x86/include/uapi/asm/prctl.h.
SYS_ARCH_PRCTL = 158
REQ_XCOMP_PERM = 0x1023
XTILEDATA = 18  # the tile registers, in the numbering of XSAVE's components
TILES = "amx_tile"


def request_amx_permission(features: Collection[str], where: str) -> None:
    """Ask for the tile registers if `features` has them. Once more does no harm.

    The process keeps them, its later threads and forks have them, too. In C: `cpu_request`.

    Args:
        where: origin of the program, for the message.

    Raises:
        BundleError: Linux refuses.
    """
    if TILES not in features:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(SYS_ARCH_PRCTL, REQ_XCOMP_PERM, XTILEDATA) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise BundleError(
            f"{where}: Linux refuses {TILES}: {reason}",
            "it takes Linux 5.16 and a virtual machine or container that passes it on; "
            "or build it with another --target",
        )
