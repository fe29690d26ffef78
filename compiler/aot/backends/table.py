"""The back end of each kind of device. A new kind is a module beside this one and a line here."""

from collections.abc import Mapping

from edgekiln.compiler.aot.backends import cuda, hosted, microcontroller, opencl
from edgekiln.compiler.aot.backends.backend import Backend
from edgekiln.targets.profile import DeviceKind

BACKENDS: Mapping[DeviceKind, Backend] = {
    "hosted": hosted,
    "microcontroller": microcontroller,
    "opencl": opencl,
    "cuda": cuda,
}
