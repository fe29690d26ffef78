"""Files that are exchanged between a look at them and their use: nothing of them is kept."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from edgekiln.compiler.build import resolve
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.pipeline import gc
from edgekiln.compiler.pipeline import store as module
from edgekiln.compiler.pipeline.artifact import Artifact, Kind, sha256_of
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.stages.uses_data import used_data
from edgekiln.models.data import load, load_samples
from edgekiln.runtime.errors import InputError


def test_a_file_that_is_exchanged_while_it_is_taken_in_spoils_no_later_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.pt"
    path.write_text("first")

    def hashed_and_exchanged(hashed: Path) -> str:
        found = sha256_of(hashed)
        if hashed == path:
            path.write_text("second")
        return found

    monkeypatch.setattr(module, "sha256_of", hashed_and_exchanged)
    with pytest.raises(InputError, match="was changed while it was read"):
        store.ingest(path, "module")
    monkeypatch.undo()
    assert gc.entries(store) == ()
    path.write_text("first")
    assert store.ingest(path, "module").path.read_text() == "first"


def test_what_an_earlier_version_took_in_under_another_files_hash_is_made_again(
    store: Store, tmp_path: Path
) -> None:
    for text in ("first", "other"):
        (tmp_path / f"{text}.pt").write_text(text)
    taken = store.ingest(tmp_path / "first.pt", "module")
    other = store.ingest(tmp_path / "other.pt", "module")
    record = (taken.path.parent / "record.json").read_text()
    forged = {key: value for key, value in json.loads(record).items() if key != "seal"}
    forged["sha256"] = forged["chain"][0]["sha256"] = other.sha256
    (taken.path.parent / "record.json").write_text(json.dumps(forged))
    shutil.copy(other.path, taken.path)
    assert store.ingest(tmp_path / "first.pt", "module").path.read_text() == "first"


def test_what_is_taken_in_is_what_was_looked_at(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_text("first")

    def door(entered: Path, recipe: Recipe) -> resolve.EnteredFile:
        found = resolve.enter(entered, recipe)
        entered.write_text("second")
        return found

    with pytest.raises(InputError, match="was changed while it was read"):
        resolve.start(store, str(path), Recipe(), door=door)


@dataclass(frozen=True, kw_only=True)
class Mean(Stage):
    """The mean of a data set, which is exchanged once, before it is read."""

    name: ClassVar[str] = "upper"
    takes: ClassVar[tuple[Kind, ...]] = ()
    gives: ClassVar[Kind] = "module"
    suffix: ClassVar[str] = ".txt"

    data: str
    labelled: bool
    exchange: ClassVar[Path | None] = None

    def uses(self, src: Artifact | None, target: object) -> Mapping[str, str]:  # noqa: ARG002
        return used_data(self.data, 0)

    def run(self, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:  # noqa: ARG002
        if Mean.exchange:
            Mean.exchange.replace(self.data.partition("?")[0])
            Mean.exchange = None
        if self.labelled:
            (array,) = load(self.data, 0).train.inputs.values()
            dst.write_text(f"{array.mean():.3f}")
        else:
            (array,) = load_samples(self.data, 0).arrays.values()
            dst.write_text(f"{array.mean():.3f}")
        return {}


def write(path: Path, value: float, *, labelled: bool) -> Path:
    samples = np.full((20, 3, 4, 4), value, np.float32)
    if labelled:
        np.savez(path, x=samples, y=np.arange(20) % 2)
    else:
        np.save(path, samples)
    return path


@pytest.mark.parametrize("labelled", [False, True])
def test_data_that_are_exchanged_between_key_and_use_are_no_result(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labelled: bool
) -> None:
    suffix = ".npz" if labelled else ".npy"
    path = write(tmp_path / f"data{suffix}", 1.0, labelled=labelled)
    data = f"{path}?scale=1&mean=0&std=1&layout=NCHW" if labelled else str(path)
    stage = Mean(data=data, labelled=labelled)
    monkeypatch.setattr(Mean, "exchange", write(tmp_path / f"x{suffix}", 2.0, labelled=labelled))
    with pytest.raises(InputError, match="was changed while it was read"):
        store.run(stage, None)
    assert gc.entries(store) == ()
    # In the same process, too, the key is the new content's from here on, and the old one's again.
    assert store.run(stage, None).path.read_text() == "2.000"
    write(path, 1.0, labelled=labelled)
    again = store.run(stage, None)
    assert (again.path.read_text(), again.cached) == ("1.000", False)
