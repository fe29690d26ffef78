"""What runs on the device: Python's standard library and numpy, nothing else.

import edgekiln.runtime

program = edgekiln.runtime.load("resnet8-rpi5.ekb")
logits = program(images)
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekiln.runtime.program import LoadedProgram

__all__ = ["load"]


def load(
    path: str | os.PathLike[str], *, signers: str | os.PathLike[str] | None = None
) -> "LoadedProgram":
    """A `.ekb` (or `.lib`) as a function of arrays, see `edgekiln.runtime.program.LoadedProgram`.

    A bundle is its maker's native code: loading it is running it.

    Args:
        signers: a public key, or a file of allowed signers: what they have not signed is refused.
            Without it, the machine's own file decides, see `edgekiln.runtime.trust`.

    Raises:
        InputError: no such file.
        BundleError: damaged, made for another machine, or not signed where that is demanded;
            nothing of it is executed then.
    """
    from edgekiln.runtime import program  # numpy takes a while: modules without it must not wait

    return program.load(path, signers=signers)
