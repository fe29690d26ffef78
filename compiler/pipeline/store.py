"""The store: every artifact under the hash of everything that could change it.

    objects/<key>/{artifact.onnx, record.json}    published by one rename, then never written
    index/<sha256 of an artifact>                 the key that made it
    compiled/<key>                                machine code, see aot/cache.py
    scratch/<key>/                                checkpoints of a run that has not finished
    tmp/, locks/                                  of runs now going on; gc removes what is stale

Any number of processes share it, and any of them may be killed at any time.
"""

import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from edgekiln.compiler.pipeline import locks
from edgekiln.compiler.pipeline.artifact import (
    FORMAT,
    Artifact,
    Record,
    key_of,
    recipe_of,
    sha256_of,
)
from edgekiln.compiler.pipeline.atomic_io import default_root, explained
from edgekiln.compiler.pipeline.stage import Advance, Kind, Stage, StageContext, silent
from edgekiln.runtime.errors import InputError, StorageError
from edgekiln.targets.profile import TargetProfile

TAG = """Signature: 8a477f597d28d172789f06886806bc55
# Build results of EdgeKiln, all of which can be made again. See https://bford.info/cachedir/
"""


class DamagedError(StorageError):
    """A stored artifact is not what was written."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a maker left in its working directory."""

    path: Path
    kind: Kind
    metrics: Record
    notes: tuple[str, ...] = ()


Maker = Callable[[Path], Made]  # from the directory to work in


class Store:
    """Artifacts on disk. Creating the object touches nothing."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_root()).absolute()
        self.objects = self.root / "objects"
        self.index = self.root / "index"
        self.scratch = self.root / "scratch"
        self.tmp = self.root / "tmp"
        self.locks = self.root / "locks"
        self.compiled = self.root / "compiled"
        self.in_use = self.root / "in-use"  # held by whoever may be reading artifacts
        self._member: locks.Shared | None = None

    def run(
        self,
        stage: Stage,
        src: Artifact | None,
        target: TargetProfile | None = None,
        advance: Advance = silent,
        logs: Path | None = None,
    ) -> Artifact:
        """The artifact that `stage` makes of `src`: found, or made now.

        A stage that begins a chain takes no input; its `run` is given `os.devnull`. Training curves
        go below `logs`; what is found leaves none.

        Raises:
            EdgeKilnError: from the stage; StorageError when the disk is full or read-only.
        """
        recipe = recipe_of(stage, src, target)
        scratch = self.scratch / key_of(recipe)

        def make(work: Path) -> Made:
            scratch.mkdir(parents=True, exist_ok=True)
            dst = work / f"artifact{stage.suffix}"
            context = StageContext(
                # What is not in the key is not passed to `run`.
                target=target if stage.uses_target else None,
                advance=advance, scratch=scratch, objects=self.compiled,
                logs=logs / stage.name if logs else None,
            )  # fmt: skip
            try:
                metrics = stage.run(src.path if src else Path(os.devnull), dst, context)
            except BaseException:
                with contextlib.suppress(OSError):
                    scratch.rmdir()  # unless it holds checkpoints
                raise
            return Made(path=dst, kind=stage.gives, metrics=metrics, notes=tuple(context.notes))

        if rank := int(os.environ.get("RANK", "0")):
            self._work_along(f"rank{rank}-{key_of(recipe)}", key_of(recipe), make)
        artifact = self._find_or_make(recipe, src.chain if src else (), make, advance)
        if not artifact.cached:
            shutil.rmtree(scratch, ignore_errors=True)
        return artifact

    def _work_along(self, name: str, key: str, make: Maker) -> None:
        """Under torchrun: train with rank 0, which holds the key's lock and publishes."""
        with explained(self.root):
            self._join()
            if self._find(key)[0] is not None:
                return
            self._prepare()
            with (
                locks.try_exclusive(self.locks / name),  # so that gc spares `work`
                tempfile.TemporaryDirectory(prefix=f"{name}.", dir=self.tmp) as work,
            ):
                make(Path(work))

    def ingest(self, path: Path, kind: Kind) -> Artifact:
        """A user's file as an artifact. One that this store made keeps its history.

        Raises:
            InputError: there is no such file, or it cannot be read.
        """
        try:
            sha256 = sha256_of(path)
        except IsADirectoryError:
            raise InputError(f"{path} is a directory", "name one file") from None
        except FileNotFoundError:
            raise InputError(f"no such file: {path}") from None
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        made = self.find(sha256)
        if made and made.kind == kind:
            return made

        def copy(work: Path) -> Made:
            dst = work / f"artifact{path.suffix}"
            shutil.copyfile(path, dst)
            return Made(path=dst, kind=kind, metrics={})

        artifact = self._find_or_make({"stage": "input", "kind": kind, "input": sha256}, (), copy)
        if artifact.sha256 != sha256:
            raise InputError(f"{path} changed while it was read")
        return artifact

    def read(self, key: str) -> Artifact | None:
        """The artifact stored under `key`, verified; None if there is none.

        Raises:
            DamagedError: it is there, but not as it was written.
        """
        home = self.objects / key
        try:
            record = json.loads((home / "record.json").read_text(encoding="utf-8"))
            path = home / record["file"]
            whole = sha256_of(path) == record["sha256"]
            artifact = Artifact(
                path=path,
                kind=cast("Kind", record["kind"]),
                sha256=record["sha256"],
                key=key,
                chain=tuple(record["chain"]),
                metrics=record["metrics"],
                notes=tuple(record["notes"]),
                wall_s=record["wall_s"],
                cached=True,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            if not home.exists():
                return None
            raise DamagedError(f"the stored artifact {home} is damaged ({error})") from error
        if not whole:
            raise DamagedError(f"the stored artifact {path} is damaged (wrong checksum)")
        return artifact

    def find(self, sha256: str) -> Artifact | None:
        """The artifact with these bytes, if the store has made or taken in such a one."""
        self._join()
        try:
            key = (self.index / sha256).read_text().strip()
            artifact = self.read(key)
        except (OSError, DamagedError):
            return None
        if artifact is not None:
            self._touch(key)
        return artifact

    def drop(self, key: str) -> None:
        """Remove an artifact at once; whoever has its file open can go on reading."""
        self._prepare()
        grave = self._workdir(key)
        with contextlib.suppress(FileNotFoundError):  # somebody else was first
            (self.objects / key).rename(grave / "dropped")
        shutil.rmtree(grave, ignore_errors=True)

    def _find_or_make(
        self, recipe: Record, before: tuple[Record, ...], make: Maker, advance: Advance = silent
    ) -> Artifact:
        key = key_of(recipe)
        with explained(self.root):
            self._join()
            artifact, remark = self._find(key)
            if artifact is None:
                self._prepare()
                with locks.exclusive(
                    self.locks / key,
                    lambda who: advance(0, 0, f"waiting: {who} is making the same"),
                ):
                    artifact, _ = self._find(key)
                    if artifact is None:
                        artifact = self._publish(key, recipe, before, make)
        # The same bytes may have come about in two ways: the chain is the caller's.
        return replace(artifact, chain=(*before, artifact.chain[-1]), remark=remark)

    def _find(self, key: str) -> tuple[Artifact | None, str]:
        """The artifact, if it is there and whole; and what was wrong with it if it was dropped."""
        try:
            artifact = self.read(key)
        except DamagedError as error:
            self.drop(key)
            return None, f"{error.message}: made again"
        if artifact is not None:
            self._touch(key)
        return artifact, ""

    def _publish(
        self, key: str, recipe: Record, before: tuple[Record, ...], make: Maker
    ) -> Artifact:
        """Make the artifact aside and give it its place by one rename. The lock is held."""
        for stale in self.tmp.glob(f"{key}.*"):  # of a killed run: its lock is ours now
            shutil.rmtree(stale, ignore_errors=True)
        work = self._workdir(key)
        try:
            start = time.monotonic()
            made = make(work)
            sha256 = sha256_of(made.path)
            record = {
                "format": FORMAT,
                "file": made.path.name,
                "kind": made.kind,
                "sha256": sha256,
                "recipe": recipe,
                "chain": [*before, {**recipe, "kind": made.kind, "sha256": sha256}],
                "metrics": dict(made.metrics),
                "notes": list(made.notes),
                "wall_s": round(time.monotonic() - start, 3),
            }
            (work / "record.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
            self._rename(work, self.objects / key)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        self._remember(sha256, key)
        artifact = self.read(key)
        assert artifact is not None, key
        return replace(artifact, cached=False)

    def _rename(self, work: Path, home: Path) -> None:
        work.chmod(0o755)  # mkdtemp's 0700 would hide it from others who share the store
        try:
            work.rename(home)  # atomic: a killed build leaves nothing half-made
        except OSError as error:
            # Where locks do not work, as on some network disks, another builder may be first.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise

    def _remember(self, sha256: str, key: str) -> None:
        entry = self.index / sha256
        if not entry.exists():  # the first maker stays
            aside = self.tmp / f"{key}.index"
            aside.write_text(key)
            aside.rename(entry)

    def _touch(self, key: str) -> None:
        """Note the last use, by which gc goes."""
        with contextlib.suppress(OSError):  # a read-only store serves as well
            os.utime(self.objects / key)

    def _join(self) -> None:
        if self._member is None:
            with contextlib.suppress(OSError):  # the first real write will say what is wrong
                self.root.mkdir(parents=True, exist_ok=True)
                self._member = locks.Shared(self.in_use)

    def _workdir(self, key: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{key}.", dir=self.tmp))

    def _prepare(self) -> None:
        for directory in (self.objects, self.index, self.scratch, self.tmp, self.locks):
            directory.mkdir(parents=True, exist_ok=True)
        tag = self.root / "CACHEDIR.TAG"
        if not tag.exists():
            tag.write_text(TAG)
