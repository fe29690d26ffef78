"""Files that can be made again in a moment, each under the hash of all that determines it.

They hold machine code, and what source files say.

A file holds the hash of its name and its content before the content: what is not what was written
under that name is as good as not there. It gets its name by one rename, so any number of processes
may write at once.
"""

import contextlib
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgekiln.runtime.limits import read_regular

DIGEST_BYTES = 32


def hash_under(name: str) -> "hashlib._Hash":
    """A hash to be given the content of the file of this name: another's file has another one."""
    return hashlib.sha256(name.encode())


@dataclass(frozen=True, kw_only=True)
class ObjectCache:
    """Keeps such files in `root`; where that is None, nothing. A disk's error is none of its."""

    root: Path | None = None

    def get(self, key: str) -> bytes | None:
        """What was stored under `key`, if it is there and whole."""
        if self.root is None:
            return None
        path = self.root / key
        try:
            stored = read_regular(path)
        except OSError:
            return None
        digest, content = stored[:DIGEST_BYTES], stored[DIGEST_BYTES:]
        whole = _digest(key, content) == digest
        with contextlib.suppress(OSError):  # a read-only store serves as well
            if whole:
                os.utime(path)  # gc goes by the last use
            else:
                path.unlink(missing_ok=True)
        return content if whole else None

    def put(self, key: str, content: bytes) -> None:
        if self.root is None:
            return
        with contextlib.suppress(OSError):
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.root, prefix=".") as aside:
                whole = Path(aside, key)
                whole.write_bytes(_digest(key, content) + content)
                whole.replace(self.root / key)


def _digest(key: str, content: bytes) -> bytes:
    hashed = hash_under(key)
    hashed.update(content)
    return hashed.digest()


NO_CACHE = ObjectCache()
