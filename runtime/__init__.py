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


def load(path: str | os.PathLike[str]) -> "LoadedProgram":
    """A `.ekb` (or `.lib`) as a function of arrays, see `edgekiln.runtime.program.LoadedProgram`.

    Raises:
        InputError: no such file.
        BundleError: damaged, or made for another machine; nothing of it is executed then.
    """
    from edgekiln.runtime import program  # numpy takes a while: modules without it must not wait

    return program.load(path)
