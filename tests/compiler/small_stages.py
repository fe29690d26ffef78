"""Stages small enough to see what the store does with them."""

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgekiln.compiler.pipeline.artifact import Artifact, Kind
from edgekiln.compiler.pipeline.curve import curves_of
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.pipeline.store import Store
from edgekiln.runtime.errors import TrainingError


@dataclass(frozen=True, kw_only=True)
class Upper(Stage):
    """Upper-case a text; every run leaves a line in `log`."""

    name: ClassVar[str] = "upper"
    takes: ClassVar[tuple[Kind, ...]] = ("module",)
    gives: ClassVar[Kind] = "module"
    tools: ClassVar[tuple[str, ...]] = ("numpy",)
    suffix: ClassVar[str] = ".txt"

    log: str
    times: int = 1
    sleep_s: float = 0.0
    fail: bool = False

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        with Path(self.log).open("a") as log:
            log.write("ran\n")
        dst.write_text(src.path.read_text().upper() * self.times)
        ctx.notes.append("made upper")
        ctx.curves.append(curves_of("letters", [{"loss/train": 2.0}, {"loss/train": 1.0}], {}))
        time.sleep(self.sleep_s)
        if self.fail:
            raise TrainingError("diverged", "lower the learning rate")
        return {"letters": float(dst.stat().st_size)}


@dataclass(frozen=True, kw_only=True)
class Compile(Upper):
    name: ClassVar[str] = "compile"
    uses_target: ClassVar[bool] = True

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        assert ctx.target is not None
        dst.write_text(src.path.read_text() + ctx.target.name)
        return {}


@dataclass(frozen=True, kw_only=True)
class Resumable(Stage):
    """Counts to ten, a checkpoint a step, and kills its own process once at five."""

    name: ClassVar[str] = "resumable"
    takes: ClassVar[tuple[Kind, ...]] = ()
    gives: ClassVar[Kind] = "module"
    suffix: ClassVar[str] = ".txt"

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        assert src.path.read_bytes() == b""
        checkpoint = ctx.scratch / "step"
        first = int(checkpoint.read_text()) if checkpoint.exists() else 0
        for step in range(first, 10):
            dst.write_text("half-made")
            if step == 5 and first == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            checkpoint.write_text(str(step + 1))
        dst.write_text("done")
        return {"first": first}


def runs(log: Path) -> int:
    return len(log.read_text().splitlines())


def leftovers(store: Store) -> list[str]:
    """What lies in the store besides artifacts."""
    rooms = (store.tmp, store.scratch, store.locks)
    return [str(path) for room in rooms for path in room.glob("*")]
