"""`edgekiln.lock`: what every stage of every job was made from, and the bytes it gave.

Stages that jobs share stand there once; names are the stage's and the first digits of its hash.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekiln.compiler.ci.matrix import Job
from edgekiln.compiler.pipeline import locks
from edgekiln.compiler.pipeline.artifact import Record
from edgekiln.runtime import codec
from edgekiln.runtime.bundle import Bundle
from edgekiln.runtime.errors import BundleError, ConfigError, MismatchError
from edgekiln.runtime.files import cannot_write, written_whole
from edgekiln.runtime.limits import read_regular, reading_hint
from edgekiln.runtime.manifest import REBUILD_HINT

SCHEMA = "edgekiln.lock/2"
_EARLIER = {"edgekiln.lock/1": "cells"}  # schema → what it calls the jobs
FILE = "edgekiln.lock"

HASH = re.compile("[0-9a-f]{64}")

Stage = Mapping[str, object]  # what `stage_of` keeps


@dataclass(frozen=True, kw_only=True)
class Lock:
    """The stages of each job, first to last."""

    jobs: Mapping[str, tuple[Stage, ...]]

    def document(self) -> Mapping[str, object]:
        """What the file holds: each stage once, and their names in each job."""
        stages = {_name(stage): stage for chain in self.jobs.values() for stage in chain}
        names = {job: [_name(stage) for stage in chain] for job, chain in self.jobs.items()}
        return {"jobs": names, "stages": stages}

    def with_jobs(self, made: Mapping[str, tuple[Stage, ...]], known: Sequence[Job]) -> "Lock":
        """What was made now over what was there, without jobs that are no longer configured."""
        ids = {job.id for job in known}
        both = {**self.jobs, **made}
        return Lock(jobs={job: chain for job, chain in both.items() if job in ids})


def of_bundle(path: Path, sha256: str) -> tuple[Stage, ...]:
    """The stages of a bundle by its own provenance, and packaging, whose output it is."""
    chain = stages_of(Bundle.open(path))
    packaged = {"stage": "package", "input": chain[-1]["output"], "output": sha256}
    return (*chain, packaged)


def stages_of(bundle: Bundle) -> tuple[Stage, ...]:
    """The stages of a bundle by its own provenance.

    Raises BundleError: it tells of none, or not as `edgekiln package` does.
    """
    try:
        found = tuple(stage_of(record) for record in bundle.manifest.provenance)
        if not all(isinstance(stage["stage"], str) for stage in found):
            raise TypeError("a stage has no name")
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{bundle.path}: its provenance is not as EdgeKiln writes it ({error})", REBUILD_HINT
        ) from error
    return found


def read(path: Path) -> Lock:
    """Read a lock. Raises ConfigError when it is not there, or damaged."""
    try:
        data = codec.loads(read_regular(path))
        schema = data["schema"]
        if schema != SCHEMA and schema not in _EARLIER:
            raise ConfigError(
                f"{path}: schema {schema!r}, this EdgeKiln reads {SCHEMA!r}",
                "write it again: `edgekiln ci` without --frozen",
            )
        stages, chains = data["stages"], data[_EARLIER.get(schema, "jobs")]
        if not all(isinstance(each["stage"], str) for each in stages.values()):
            raise TypeError("a stage has no name")
        return Lock(
            jobs={job: tuple(stages[name] for name in names) for job, names in chains.items()}
        )
    except FileNotFoundError:
        raise ConfigError(
            f"no such file: {path}", "`edgekiln ci` without --frozen writes it"
        ) from None
    except OSError as error:
        hint = reading_hint(error, "take it from version control")
        raise ConfigError(f"{path}: {error.strerror}", hint) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: damaged ({error})", "take it from version control") from error


def update(path: Path, made: Mapping[str, tuple[Stage, ...]], known: Sequence[Job]) -> None:
    """Write what was made now over what is there, which another run may have written meanwhile.

    Raises:
        ConfigError: what is there is damaged.
        StorageError: it cannot be written; it is whole then, as it was.
    """
    before, content = _updated(path, made, known)
    if before == content:  # then the folder need not be writable
        return
    try:
        with locks.exclusive(path.with_name(f".{path.name}.lock"), lambda _who: None):
            _, content = _updated(path, made, known)
            with written_whole(path) as stream:
                stream.write(content)
    except OSError as error:
        raise cannot_write(path, error) from error


def _updated(
    path: Path, made: Mapping[str, tuple[Stage, ...]], known: Sequence[Job]
) -> tuple[bytes, bytes]:
    """The content of the file, and what it shall be."""
    there = read(path) if path.exists() else Lock(jobs={})
    lock = there.with_jobs(made, known)
    return (
        path.read_bytes() if path.exists() else b"",
        codec.to_json(lock.document(), SCHEMA).encode(),
    )


def compare(locked: Sequence[Stage] | None, made: Sequence[Stage]) -> None:
    """Raises MismatchError that names the first stage that differs, and in what."""
    hint = "change back what was changed, or write a new lock: `edgekiln ci` without --frozen"
    if locked is None:
        raise MismatchError(f"not in {FILE}", hint)
    # The first stage that differs says most; only where none does, a missing one is told.
    for before, now in zip(locked, made, strict=False):
        for key, was, value in differences(before, now):
            found = f"{key} is {shown(value)}, the lock says {shown(was)}"
            raise MismatchError(f"stage {now['stage']}: {found}", hint)
    if len(locked) != len(made):
        names = [" → ".join(str(stage["stage"]) for stage in chain) for chain in (locked, made)]
        raise MismatchError(f"stages are {names[1]}, the lock says {names[0]}", hint)


def stage_of(record: Record) -> Stage:
    """What the lock keeps of a store's record; the target by its hash."""
    kept = {
        key: record[key]
        for key in ("stage", "code", "options", "input", "uses", "tools")
        if record.get(key) is not None
    }
    if target := record.get("target"):
        kept["target"] = {"name": target["name"], "sha256": codec.digest(target)}
    return {**kept, "output": record["sha256"]}


def differences(before: Stage, now: Stage, where: str = "") -> Iterator[tuple[str, object, object]]:
    """What differs: key, value before and now. What a stage gave comes last, as it follows."""
    keys = sorted({*before, *now}, key=lambda key: (key == "output", key != "stage", key))
    for key in keys:
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, f"{where}{key}.")
        else:
            yield f"{where}{key}", old, new


def shown(value: object) -> str:
    """The value as people read it: a hash by its first digits."""
    if isinstance(value, str) and HASH.fullmatch(value):
        return f"{value[:12]}…"
    return "missing" if value is None else json.dumps(value, ensure_ascii=False)


def _name(stage: Stage) -> str:
    return f"{stage['stage']}-{codec.digest(stage)[:16]}"
