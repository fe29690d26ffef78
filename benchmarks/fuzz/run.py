"""Damage a seed, hand it to the tool in a process of its own, keep what went wrong."""

import os
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgekiln.benchmarks.conformance.trial import preload
from edgekiln.benchmarks.fuzz.kinds import KINDS
from edgekiln.benchmarks.fuzz.seeds import Seeds, make
from edgekiln.benchmarks.isolated import BAD, Verdict, isolated


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One case; the same kind, seed and number damage the same file in the same way."""

    kind: str
    number: int
    file: str
    verdict: Verdict
    detail: str


def prepare(home: Path) -> Seeds:
    """Seeds below `home`, made with a store of their own, which cases work with, too."""
    store = home / "store"
    os.environ["EDGEKILN_STORE"] = str(store)
    preload()
    seeds = home / "seeds"
    seeds.mkdir(parents=True)
    return make(seeds, store)


def whole(kind: str, seeds: Seeds) -> Iterator[Finding]:
    """The seeds of a kind, undamaged: each must be right, or the cases prove nothing."""
    for number, name in enumerate(KINDS[kind].seeds):
        yield _run(kind, number, name, seeds.content(name), seeds)


def cases(kind: str, seed: int, numbers: range, seeds: Seeds, keep: Path) -> Iterator[Finding]:
    """Run these cases; inputs that show a fault are kept in `keep`."""
    entry = KINDS[kind]
    for number in numbers:
        # Seeded by text, of which every process makes the same numbers.
        rng = random.Random(f"{seed}/{kind}/{number}")
        name = rng.choice(entry.seeds)
        content = entry.damage(seeds.content(name), rng)
        finding = _run(kind, number, name, content, seeds)
        if finding.verdict in BAD:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{kind}-{seed}-{number}-{name}").write_bytes(content)
        yield finding


def _run(kind: str, number: int, name: str, content: bytes, seeds: Seeds) -> Finding:
    with tempfile.TemporaryDirectory(prefix="edgekiln-fuzz-") as directory:
        file, work = Path(directory, name), Path(directory, "work")
        file.write_bytes(content)
        work.mkdir()
        verdict, detail = isolated(partial(KINDS[kind].judge, file, work, seeds))
    # Equal cases have equal findings.
    detail = detail.replace(directory, "")
    return Finding(kind=kind, number=number, file=name, verdict=verdict, detail=detail)
