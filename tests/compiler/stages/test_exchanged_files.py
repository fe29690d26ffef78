"""Files that are exchanged between a look at them and their use: nothing of them is kept."""

import importlib
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgekiln.compiler.build import resolve
from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.pipeline import gc
from edgekiln.compiler.pipeline import store as module
from edgekiln.compiler.pipeline.artifact import Artifact, Kind, sha256_of
from edgekiln.compiler.pipeline.stage import Stage, StageContext
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.stages.attach import AttachStage
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.compiler.stages.distill import DistillStage
from edgekiln.compiler.stages.initialize import InitializeStage
from edgekiln.compiler.stages.uses_data import used_data
from edgekiln.models.artifact import create
from edgekiln.models.data import load, load_samples
from edgekiln.runtime.errors import InputError
from edgekiln.targets import profile


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
    data = f"{path}?scale=1&mean=0&std=1" if labelled else str(path)
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


TINY = "digits?limit=160&test=40&val=40&calib=20&size=16"
NETS = """
import torch
from torch import nn


def tiny(classes: int = 10) -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3072, classes))
    nn.init.constant_(net[1].weight, VALUE)
    return net
"""


def test_code_that_is_edited_while_a_command_runs_is_not_taken_for_the_code_that_ran(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a sweep of hours: what was imported stays, and has to stay the key's, too."""
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "edited_nets.py"
    stage = InitializeStage(model="edited_nets:tiny", data="digits?limit=60")
    path.write_text(NETS.replace("VALUE", "0.25"))
    first = store.run(stage, None)
    path.write_text(NETS.replace("VALUE", "0.75"))
    again = store.run(stage, None)
    assert (again.key, again.cached) == (first.key, True)
    # Another command imports what is there now.
    monkeypatch.delitem(sys.modules, "edited_nets")
    importlib.invalidate_caches()
    other = store.run(stage, None)
    assert other.key != first.key
    assert other.sha256 != first.sha256


def exchanging(stage: Stage, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another file take the place of `path` between the key of a stage and its run."""
    run = type(stage).run

    def late(self: Stage, src: Artifact, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        other = path.with_name("other")
        other.write_bytes(path.read_bytes())
        other.replace(path)
        return run(self, src, dst, ctx)

    monkeypatch.setattr(type(stage), "run", late)


def network(path: Path) -> Path:
    """It gives scores of three classes in each of four steps."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4, 3]) for n in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "net", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    io.write_meta(model, io.Meta())
    io.save_model(model, path)
    return path


def reading(option: str, home: Path) -> tuple[Stage, Path, Path]:
    """A stage, its input, and a file that an option names."""
    suffixes = {"labels": ".txt", "tuning": ".jsonl", "point": ".onnx"}
    read = home / f"read{suffixes.get(option, '.pt')}"
    read.write_text("a\nb\n" if option == "labels" else "")
    model = home / "net.onnx"
    if option == "labels":
        return AttachStage(after=(f"ctc=greedy?labels={read}",)), network(model), read
    if option == "tuning":
        return CompileStage(tuning=str(read)), network(model), read
    if option == "point":
        return CompileStage(point=(f"half={network(read)}",)), network(model), read
    for path, seed in ((read, 1), (home / "net.pt", 0)):
        create(path, "resnet8?width=8", load(TINY, 0), TINY, seed=seed)
    quick = DistillStage(epochs=1, batch_size=32, data=TINY)
    named = {"init": str(read)} if option == "init" else {"teacher": (str(read),)}
    return replace(quick, **named), home / "net.pt", read


@pytest.mark.parametrize("option", ["labels", "tuning", "point", "init", "teacher"])
def test_a_file_that_is_exchanged_between_key_and_use_is_no_result(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    stage, model, read = reading(option, tmp_path)
    kind: Kind = "module" if model.suffix == ".pt" else "onnx"
    exchanging(stage, read, monkeypatch)
    target = profile.load("host")
    before = len(gc.entries(store))
    with pytest.raises(InputError, match=f"{read.name} was changed while it was read"):
        store.run(stage, Artifact.of_file(model, kind), target)
    assert len(gc.entries(store)) == before
