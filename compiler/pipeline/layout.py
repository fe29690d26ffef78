"""Where things lie in a store, and its index: which key stands for which bytes."""

import contextlib
import errno
import os
import re
import shutil
import tempfile
from pathlib import Path

from edgekiln.compiler.pipeline import locks
from edgekiln.compiler.pipeline.atomic_io import default_root
from edgekiln.runtime.limits import NO_FILE, read_regular_up_to

KEY = re.compile("[0-9a-f]{64}")
TAG = """Signature: 8a477f597d28d172789f06886806bc55
# Build results of EdgeKiln, all of which can be made again. See https://bford.info/cachedir/
"""


_MOST_BYTES = 1 << 16  # of a small file of the store; paths are the longest that they hold


def read_note(path: Path) -> str:
    """The text of a small file of the store; what is none of ours may give anything.

    Raises OSError as `open_regular`.
    """
    return read_regular_up_to(path, _MOST_BYTES).decode("utf-8", "replace")


class Layout:
    """The folders of a store. Creating the object touches nothing."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_root()).absolute()
        self.objects = self.root / "objects"
        self.index = self.root / "index"
        self.scratch = self.root / "scratch"
        self.tmp = self.root / "tmp"
        self.places = self.root / "places"
        self.locks = self.root / "locks"
        self.compiled = self.root / "compiled"
        self.in_use = self.root / "in-use"  # held by whoever may be reading artifacts
        self._member: locks.Shared | None = None

    def prepare(self) -> None:
        """Make the folders. Raises OSError."""
        folders = (self.objects, self.index, self.scratch, self.tmp, self.locks, self.places)
        for directory in folders:
            directory.mkdir(parents=True, exist_ok=True)
        tag = self.root / "CACHEDIR.TAG"
        if not os.path.lexists(tag):
            tag.write_text(TAG)

    def join(self) -> None:
        """Be known to gc as somebody who may be reading artifacts, while this object lives."""
        if self._member is None:
            with contextlib.suppress(OSError):  # the first real write will say what is wrong
                self.root.mkdir(parents=True, exist_ok=True)
                self._member = locks.Shared(self.in_use)

    def workdir(self, key: str) -> Path:
        """A new folder to work in, which gc removes if we do not."""
        return Path(tempfile.mkdtemp(prefix=f"{key}.", dir=self.tmp))

    def publish(self, work: Path, key: str) -> None:
        """Give the finished folder `work` its place, by one rename."""
        work.chmod(0o755)  # mkdtemp's 0700 would hide it from others who share the store
        try:
            work.rename(self.objects / key)  # atomic: a killed build leaves nothing half-made
        except OSError as error:
            # Where locks do not work, as on some network disks, another builder may be first.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise

    def indexed(self, sha256: str) -> str:
        """The key that the index has for these bytes; "" if it has none."""
        try:
            key = read_note(self.index / sha256).strip()
        except OSError as error:
            if error.errno not in NO_FILE:
                raise
            return ""
        return key if KEY.fullmatch(key) else ""

    def put(self, path: Path, content: str, key: str) -> None:
        """Write a small file of the store, whole or not at all.

        Raises:
            OSError: as for any file; also when gc comes between and nobody holds the lock of `key`.
        """
        work = self.workdir(key)
        try:
            (work / "file").write_text(content, encoding="utf-8")
            if path.is_dir() and not path.is_symlink():
                path.rename(work / "folder")  # nobody of us has made it, and no file replaces one
            (work / "file").rename(path)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def touch(self, key: str) -> None:
        """Note the last use, by which gc goes."""
        with contextlib.suppress(OSError):  # a read-only store serves as well
            os.utime(self.objects / key)
