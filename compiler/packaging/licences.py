"""What a bundle says about the code inside it that is not its user's own."""

from collections.abc import Collection, Mapping
from importlib import metadata, resources

from edgekiln.runtime.bundle import IMAGE, RUNNER

HOME = "LICENSES"

_PROGRAM = """\
What is in this bundle, besides the model, whose licence is its owner's:

libmodel.so, libmodel.a, model.h
    Calls and kernels written out by EdgeKiln {version} (Apache-2.0, see Apache-2.0.txt), compiled
    by Apache TVM {tvm} (Apache-2.0) with LLVM (Apache-2.0 with LLVM exceptions) and the target's
    C compiler. Nothing of TVM, of its runtime or of LLVM itself is linked in.
"""

_RUNNER = """\

runner
    EdgeKiln's C runtime (Apache-2.0), and statically linked parts of the toolchain:
    the GNU C Library, Copyright (C) Free Software Foundation, Inc., LGPL-2.1-or-later, see
    LGPL-2.1.txt; and libgcc, GPL-3.0 with the GCC Runtime Library Exception, which asks for nothing
    here. You may replace the C library by a modified one: link libmodel.a of this bundle with the
    runner's C sources (runtime/c of EdgeKiln) and your library. The C library's source is at
    https://ftp.gnu.org/gnu/glibc/ and with the distribution whose toolchain linked it.
"""


_IMAGE = """\

firmware.elf
    EdgeKiln's C runtime (Apache-2.0), and statically linked parts of the toolchain: newlib,
    Copyright (C) Red Hat Incorporated and others, under BSD and similar licences, see
    https://sourceware.org/newlib/COPYING.NEWLIB; and libgcc, GPL-3.0 with the GCC Runtime Library
    Exception, which asks for nothing here.
"""


def notices(files: Collection[str]) -> Mapping[str, bytes]:
    """Path in the bundle → text, for a program made of `files`."""
    texts = {
        "NOTICE.txt": _PROGRAM.format(
            version=metadata.version("edgekiln"), tvm=metadata.version("apache-tvm")
        ).encode(),
        "Apache-2.0.txt": _full_text("Apache-2.0"),
    }
    if RUNNER in files:  # like IMAGE, a file with foreign code linked in
        texts["NOTICE.txt"] += _RUNNER.encode()
        texts["LGPL-2.1.txt"] = _full_text("LGPL-2.1")
    if IMAGE in files:
        texts["NOTICE.txt"] += _IMAGE.encode()
    return {f"{HOME}/{name}": text for name, text in texts.items()}


def _full_text(licence: str) -> bytes:
    return (
        resources.files("edgekiln.compiler.packaging")
        .joinpath(f"notices/{licence}.txt")
        .read_bytes()
    )
