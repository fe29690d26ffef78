"""Files that can be made again in a moment, each under the hash of all that determines it.

They hold machine code, and what source files say.

A file holds the hash of its content before the content: what is not what was written is as good as
not there. It gets its name by one rename, so any number of processes may write at once.
"""

import contextlib
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgekiln.runtime.limits import read_regular

_DIGEST_BYTES = 32


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
        digest, content = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        with contextlib.suppress(OSError):
            if hashlib.sha256(content).digest() != digest:
                path.unlink(missing_ok=True)
                return None
            os.utime(path)  # gc goes by the last use
        return content

    def put(self, key: str, content: bytes) -> None:
        if self.root is None:
            return
        with contextlib.suppress(OSError):
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.root, prefix=".") as aside:
                whole = Path(aside, key)
                whole.write_bytes(hashlib.sha256(content).digest() + content)
                whole.replace(self.root / key)


NO_CACHE = ObjectCache()
