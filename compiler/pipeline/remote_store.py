"""A store with a second one behind it that many machines share, anywhere fsspec reaches.

There, `<key>.tar` holds an artifact and its record. What is found is verified: the record's recipe
must have that key, and the artifact the record's hash. Anything else is as good as not there, and
is replaced. So any number of writers may be at it; a file of theirs is the same as ours, or broken.
"""

import contextlib
import re
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from edgekiln.compiler.pipeline.artifact import Artifact, Record
from edgekiln.compiler.pipeline.record import RECORD, DamagedError, StoredRecord, parse_record
from edgekiln.compiler.pipeline.store import Maker, Store
from edgekiln.runtime.bundle import read_tar, sha256, write_tar
from edgekiln.runtime.errors import BundleError, ConfigError, EdgeKilnError, MissingToolError
from edgekiln.runtime.text import without_password

T = TypeVar("T")
Verb = Literal["read", "write"]
ANSWER_S = 20.0  # for a server's first answer
_UNFINISHED = re.compile(r"[0-9a-f]{64}\.tar\.[0-9a-f]{32}")  # names of what is being uploaded
_UPLOAD_S = 86_400  # longer than that no upload takes


def open_store(url: str = "") -> Store:
    """The machine's own store, and behind it, when given, the one at `url`.

    Raises:
        ConfigError: not a URL that fsspec knows.
        MissingToolError: its protocol needs a package that is not installed.
    """
    return SharedStore(url) if url else Store()


class SharedStore(Store):
    """Looks behind before it makes, and leaves a copy there of what it made.

    The store behind is help, not a need: when it cannot be reached, that is said, and work goes on.
    """

    def __init__(self, url: str, root: Path | None = None) -> None:
        super().__init__(root)
        from fsspec.core import url_to_fs

        self.url = without_password(url)
        self._lost: set[Verb] = set()  # what is not tried any more
        self._said: set[str] = set()
        try:
            self._fs, self._home = _in_time(lambda: url_to_fs(url))
            # A server that is silent would be waited for at every stage.
            _in_time(self._knock)
        except ImportError as error:
            raise MissingToolError(
                f"store {self.url}: {error}", "pip install it, e.g. s3fs"
            ) from error
        except ValueError as error:
            raise ConfigError(
                f"store {self.url}: {error}",
                "give a directory, or a URL such as s3://bucket/edgekiln",
            ) from error
        except Exception as error:  # a server that is not there: each protocol has its own words
            self._lose("read", error)
            self._lost.add("write")

    def _knock(self) -> None:
        with contextlib.suppress(Exception):  # whatever it says: it does answer
            self._fs.exists(self._home)

    def _publish(
        self, key: str, recipe: Record, before: tuple[Record, ...], make: Maker
    ) -> Artifact:
        if self._attempt("read", lambda: self._fetch(key)):
            artifact = self.read(key)
            assert artifact is not None, key
            return artifact
        artifact = super()._publish(key, recipe, before, make)
        self._attempt("write", lambda: self._offer(key))
        return artifact

    def _attempt(self, verb: Verb, action: Callable[[], T]) -> T | None:
        """None when the store behind fails, in any of the ways of its many protocols."""
        if verb in self._lost:
            return None
        try:
            return action()
        except Exception as error:
            self._lose(verb, error)
            return None

    def _lose(self, verb: Verb, error: Exception) -> None:
        """Say what is wrong, once: what cannot be read now is not tried at every stage."""
        # What is damaged, or not for us, is one artifact, and not the store.
        if not isinstance(error, EdgeKilnError | PermissionError):
            self._lost.add(verb)
        said = f"note: cannot {verb} the store {self.url}: {str(error) or type(error).__name__}"
        if said not in self._said:
            self._said.add(said)
            print(said, file=sys.stderr)

    def _fetch(self, key: str) -> bool:
        """Whether the artifact was there, whole, and is now in this store."""
        work = self.workdir(key)
        try:
            packed = work / "packed.tar"
            try:
                self._fs.get_file(self._place(key), str(packed))
            except FileNotFoundError:
                return False
            # Before anything of it is ours: whoever can write there could have written it.
            record, content = _verified(key, packed)
            packed.unlink()
            (work / record.file).write_bytes(content)
            record.write(work)
            self.publish(work, key)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        self._remember(record.sha256, key)
        return True

    def _offer(self, key: str) -> None:
        """Under another name first: nobody shall read half a file."""
        work = self.workdir(key)
        try:
            home = self.objects / key
            packed = work / "packed.tar"
            write_tar(packed, {path.name: path for path in home.iterdir()}, executable=set())
            aside = f"{self._place(key)}.{uuid.uuid4().hex}"
            self._fs.makedirs(self._home, exist_ok=True)
            try:
                self._fs.put_file(str(packed), aside)
                # Whoever comes second replaces the same content.
                self._fs.mv(aside, self._place(key))
            except BaseException:
                with contextlib.suppress(Exception):
                    self._fs.rm_file(aside)
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def remove_unfinished(self, now_s: float = 0) -> int:
        """Remove what uploads that were killed have left behind; the bytes that this frees."""
        return self._attempt("write", lambda: self._remove_unfinished(now_s or time.time())) or 0

    def _remove_unfinished(self, now_s: float) -> int:
        freed = 0
        self._fs.invalidate_cache()
        if not self._fs.exists(self._home):
            return freed
        for entry in self._fs.ls(self._home, detail=True):
            place = entry["name"]
            if not _UNFINISHED.fullmatch(place.rpartition("/")[2]):
                continue
            with contextlib.suppress(FileNotFoundError):  # it has got its name meanwhile
                if now_s - self._fs.modified(place).timestamp() >= _UPLOAD_S:
                    self._fs.rm_file(place)
                    freed += int(entry["size"])
        return freed

    def _place(self, key: str) -> str:
        return f"{self._home}/{key}.tar"


def _in_time(action: Callable[[], T]) -> T:
    """What an action gives, or raises. Raises TimeoutError where it takes longer than a server may;
    the library's own timeouts are longer, and it tries again after them.
    """
    given: list[T] = []
    raised: list[Exception] = []

    def act() -> None:
        try:
            given.append(action())
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(ANSWER_S)
    if raised:
        raise raised[0]
    if not given:
        raise TimeoutError(f"no answer within {ANSWER_S:.0f} s")
    return given[0]


def _verified(key: str, packed: Path) -> tuple[StoredRecord, bytes]:
    """Record and artifact.

    Raises:
        BundleError, DamagedError: they are not what the key stands for.
    """
    files = read_tar(packed)
    if RECORD not in files:
        raise BundleError(f"{key[:12]}… holds no record")
    record = parse_record(files[RECORD], key)
    if record.file not in files or sha256(files[record.file]) != record.sha256:
        raise DamagedError(f"{key[:12]}… has another checksum")
    return record, files[record.file]
