"""The store: every artifact under the hash of everything that could change it.

    objects/<key>/{artifact.onnx, record.json}    published by one rename, then never written
    index/<sha256 of an artifact>                 the key that made it
    places/<fingerprint of a data set>            where it lies, see places.py
    compiled/<key>                                what serves several runs and can be made again:
                                                  machine code, answers of teachers
    scratch/<key>/                                checkpoints of a run that has not finished
    tmp/, locks/                                  of runs now going on; gc removes what is stale

Any number of processes share it, and any of them may be killed at any time.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.pipeline import key_checks, locks
from edgekiln.compiler.pipeline.artifact import INPUT, NOTHING, Artifact, Kind, Record, sha256_of
from edgekiln.compiler.pipeline.atomic_io import explained
from edgekiln.compiler.pipeline.curve import TrainingCurves
from edgekiln.compiler.pipeline.key import FORMAT, key_of, recipe_of
from edgekiln.compiler.pipeline.layout import Layout
from edgekiln.compiler.pipeline.places import note_place
from edgekiln.compiler.pipeline.ranks import rank
from edgekiln.compiler.pipeline.record import DamagedError, StoredRecord, read_record
from edgekiln.compiler.pipeline.stage import (
    Advance,
    OnEpoch,
    Stage,
    StageContext,
    silent,
    unwatched,
)
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.limits import NO_FILE, open_regular, reading_hint

if TYPE_CHECKING:
    from edgekiln.targets.profile import TargetProfile


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a maker left in its working directory."""

    path: Path
    kind: Kind
    metrics: Record
    notes: tuple[str, ...] = ()
    curves: tuple[TrainingCurves, ...] = ()


Maker = Callable[[Path], Made]  # from the directory to work in


class Store(Layout):
    """Artifacts on disk. Creating the object touches nothing."""

    def run(
        self,
        stage: Stage,
        src: Artifact | None,
        target: "TargetProfile | None" = None,
        advance: Advance = silent,
        logs: Path | None = None,
        allow: frozenset[str] = frozenset(),
        on_epoch: OnEpoch = unwatched,
    ) -> Artifact:
        """The artifact that `stage` makes of `src`: found, or made now.

        A stage that begins a chain takes no input; its `run` is given `NOTHING`. Training curves
        go below `logs`; what is found leaves none. `allow` names the factories, besides the zoo's,
        that files may ask for; `on_epoch` is told of what is trained now.

        Raises:
            EdgeKilnError: from the stage; StorageError when the disk is full or read-only.
        """
        given = src or NOTHING
        with given.in_its_users_words():
            stage = stage.settled(src)
            stage.require_allowed(src, allow)
            key_checks.begin_stage()
            recipe = recipe_of(stage, src, target)
            note_place(self, recipe)
            scratch = self.scratch / key_of(recipe)

            def make(work: Path) -> Made:
                scratch.mkdir(parents=True, exist_ok=True)
                dst = work / f"artifact{stage.suffix}"
                context = StageContext(
                    # What is not in the key is not passed to `run`.
                    target=target if stage.uses_target else None,
                    advance=advance, on_epoch=on_epoch, scratch=scratch, objects=self.compiled,
                    allow=allow, logs=logs / stage.name if logs else None,
                )  # fmt: skip
                try:
                    metrics = stage.run(given, dst, context)
                    key_checks.require_same()
                except BaseException:
                    with contextlib.suppress(OSError):
                        scratch.rmdir()  # unless it holds checkpoints
                    raise
                return Made(
                    path=dst, kind=stage.kind_of(src), metrics=metrics,
                    notes=tuple(context.notes), curves=tuple(context.curves),
                )  # fmt: skip

            if number := rank():
                self._work_along(f"rank{number}-{key_of(recipe)}", key_of(recipe), make)
            artifact = self._find_or_make(recipe, given.chain, make, advance)
        shutil.rmtree(scratch, ignore_errors=True)  # also when found: its maker may be killed
        return artifact

    def _work_along(self, name: str, key: str, make: Maker) -> None:
        """Under torchrun: train with rank 0, which holds the key's lock and publishes."""
        with explained(self.root):
            self.join()
            if self._find(key)[0] is not None:
                return
            self.prepare()
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
            raise InputError(f"no such file: {path}", "check its path and name") from None
        except OSError as error:
            hint = reading_hint(error, "give a regular file")
            raise InputError(f"cannot read {path}: {error.strerror}", hint) from error
        made = self.find(sha256)
        if made and made.kind == kind:
            return replace(made, called=str(path))

        def copy(work: Path) -> Made:
            dst = work / f"artifact{path.suffix}"
            with open_regular(path) as source, dst.open("wb") as copied:
                shutil.copyfileobj(source, copied)
            if sha256_of(dst) != sha256:  # before it has a name: that would be another file's
                raise InputError(f"{path} was changed while it was read", "run it again")
            return Made(path=dst, kind=kind, metrics={})

        artifact = self._find_or_make({"stage": INPUT, "kind": kind, "input": sha256}, (), copy)
        return replace(artifact, called=str(path))

    def read(self, key: str) -> Artifact | None:
        """The artifact stored under `key`, verified; None if there is none.

        Raises:
            DamagedError: it is there, but not as it was written.
            OSError: it cannot be read.
        """
        home = self.objects / key
        try:
            record = read_record(home)
            path = home / record.file
            if sha256_of(path) != record.sha256:
                raise DamagedError(f"{path} has another checksum")
        except OSError as error:
            if error.errno not in NO_FILE:
                raise
            if not os.path.lexists(home):
                return None
            raise DamagedError(f"the stored artifact {home} is damaged ({error})") from error
        except DamagedError as error:
            raise DamagedError(
                f"the stored artifact {home} is damaged ({error.message})"
            ) from error
        return Artifact(
            path=path,
            kind=record.kind,
            sha256=record.sha256,
            key=key,
            chain=record.chain,
            metrics=record.metrics,
            notes=record.notes,
            curves=record.curves,
            wall_s=record.wall_s,
            cached=True,
            called=f"the {record.kind} that {record.recipe['stage']} made",
        )

    def find(self, sha256: str) -> Artifact | None:
        """The artifact with these bytes, if the store has made or taken in such a one."""
        self.join()
        try:
            artifact = self.read(key) if (key := self.indexed(sha256)) else None
        except (OSError, DamagedError):
            return None
        if artifact is None or artifact.sha256 != sha256:
            return None
        self.touch(artifact.key)
        return artifact

    def drop(self, key: str) -> None:
        """Remove an artifact at once; whoever has its file open can go on reading."""
        self.prepare()
        grave = self.workdir(key)
        with contextlib.suppress(FileNotFoundError):  # somebody else was first
            (self.objects / key).rename(grave / "dropped")
        shutil.rmtree(grave, ignore_errors=True)

    def _find_or_make(
        self, recipe: Record, before: tuple[Record, ...], make: Maker, advance: Advance = silent
    ) -> Artifact:
        key = key_of(recipe)
        with explained(self.root):
            self.join()
            artifact, remark = self._find(key)
            if artifact is None:
                self.prepare()
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
            self.touch(key)
            with contextlib.suppress(OSError):  # a read-only store serves as well
                self._remember(artifact.sha256, key)
        return artifact, ""

    def _publish(
        self, key: str, recipe: Record, before: tuple[Record, ...], make: Maker
    ) -> Artifact:
        """Make the artifact aside and give it its place by one rename. The lock is held."""
        for stale in self.tmp.glob(f"{key}.*"):  # of a killed run: its lock is ours now
            shutil.rmtree(stale, ignore_errors=True)
        work = self.workdir(key)
        try:
            start = time.monotonic()
            made = make(work)
            sha256 = sha256_of(made.path)
            record = StoredRecord(
                format=FORMAT,
                file=made.path.name,
                kind=made.kind,
                sha256=sha256,
                recipe=recipe,
                chain=(*before, {**recipe, "kind": made.kind, "sha256": sha256}),
                metrics=made.metrics,
                notes=made.notes,
                curves=made.curves,
                wall_s=round(time.monotonic() - start, 3),
            )
            record.write(work)
            self.publish(work, key)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        self._remember(sha256, key)  # a kill before this is mended when the artifact is found
        artifact = self.read(key)
        assert artifact is not None, key
        return replace(artifact, cached=False)

    def _remember(self, sha256: str, key: str) -> None:
        """Note which key stands for these bytes: the first that made them, not took them in."""
        known = self.indexed(sha256)
        if known != key and not (known and self._is_made(known)):
            self.put(self.index / sha256, key, key)

    def _is_made(self, key: str) -> bool:
        try:
            artifact = self.read(key)
        except (OSError, DamagedError):
            return False
        return artifact is not None and artifact.chain[-1]["stage"] != INPUT
