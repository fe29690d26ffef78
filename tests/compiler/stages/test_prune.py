"""The stage as a whole, on a narrow network and few digits."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.distill import DistillStage
from edgekiln.compiler.stages.prune import PruneStage
from edgekiln.models import artifact, cost
from edgekiln.models import data as sets
from edgekiln.models.artifact import load_module, save_module
from edgekiln.runtime.errors import ConfigError, InputError
from tests.compiler import artifacts

DATA = "digits?limit=200&test=40&val=40&calib=20&size=16"
QUICK = PruneStage(ratio=0.6, recovery_epochs=1, channel_multiple=2)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("source") / "net.pt"
    artifact.create(path, "resnet8?width=8", sets.load(DATA, 0), DATA, seed=0)
    return path


def prune(
    stage: PruneStage, src: Path, home: Path, **context: object
) -> tuple[dict[str, float], StageContext]:
    ctx = StageContext(scratch=home / "scratch", **context)  # type: ignore[arg-type]
    home.mkdir(exist_ok=True)
    return dict(stage.run(artifacts.of(src), home / "out.pt", ctx)), ctx


def test_the_network_is_really_smaller(source, tmp_path):
    metrics, _ = prune(QUICK, source, tmp_path)
    module, meta = load_module(tmp_path / "out.pt")
    costs = cost.count(module, torch.zeros(1, *meta.input_shape))
    assert metrics["macs_after"] == costs.macs <= 0.6 * metrics["macs_before"]
    assert metrics["macs_after"] > 0.4 * metrics["macs_before"]
    assert metrics["parameters_after"] == costs.parameters < metrics["parameters_before"]
    assert meta.history["prune"] == metrics
    assert all(b.shape == () or b.numel() for b in module.buffers())  # no masks among them


def test_what_a_cut_costs_is_said(source, tmp_path):
    trained = tmp_path / "trained.pt"
    DistillStage(epochs=6, batch_size=16).run(
        artifacts.of(source), trained, StageContext(scratch=tmp_path / "d")
    )
    stage = replace(QUICK, ratio=0.1, recovery_epochs=0)
    metrics, ctx = prune(stage, trained, tmp_path)
    before, after = metrics["val_accuracy_before"], metrics["val_accuracy"]
    assert before == load_module(trained)[1].history["distill"]["val_accuracy"]
    assert after < before - 0.1
    assert ctx.notes[0] == (
        f"pruning made it worse: val {100 * before:.1f} % before, {100 * after:.1f} % after; "
        "raise --ratio or --recovery-epochs"
    )


@pytest.mark.parametrize(("ratio", "rate"), [(0.97, 2e-4), (0.3, 3e-3)])
def test_recovery_is_gentle_where_the_cut_cost_little(source, tmp_path, ratio, rate):
    trained = tmp_path / "trained.pt"
    DistillStage(epochs=6, batch_size=16).run(
        artifacts.of(source), trained, StageContext(scratch=tmp_path / "d")
    )
    stage = replace(QUICK, ratio=ratio)
    metrics, _ = prune(stage, trained, tmp_path / "default")
    prune(replace(stage, learning_rate=rate), trained, tmp_path / "given")
    default, given = ((tmp_path / f"{name}/out.pt").read_bytes() for name in ("default", "given"))
    assert default == given
    assert metrics["macs_ratio"] <= ratio


def test_a_network_that_reads_its_samples_as_indices_is_pruned(tmp_path):
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "v.npz", x=draw.random((200, 24)), y=np.arange(200) % 10)
    spec = f"{tmp_path / 'v.npz'}?mean=0"  # as they are: normalized, they are no indices
    factory = "tests.compiler.pruning.test_unfollowed:Table"
    artifact.create(tmp_path / "net.pt", factory, sets.load(spec, 0), spec, seed=0)
    metrics, ctx = prune(QUICK, tmp_path / "net.pt", tmp_path, allow=frozenset({factory}))
    assert metrics["macs_ratio"] <= 0.6
    assert "layer table kept: Embedding is neither a convolution nor a linear layer" in ctx.notes


def test_the_same_options_give_the_same_bytes(source, tmp_path):
    for name in ("a", "b"):
        prune(replace(QUICK, importance="taylor"), source, tmp_path / name)
    assert (tmp_path / "a/out.pt").read_bytes() == (tmp_path / "b/out.pt").read_bytes()


@pytest.mark.parametrize("when", ["cut 1/2: epoch 2", "cut 2/2: epoch 2"])
def test_a_killed_stage_resumes_to_the_same_bytes(source, tmp_path, when):
    stage = replace(QUICK, steps=2, recovery_epochs=2)
    prune(stage, source, tmp_path / "straight")

    def die(_done: int, _total: int, text: str) -> None:
        if text.startswith(when):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(stage, source, tmp_path / "killed", advance=die)
    assert not (tmp_path / "killed/out.pt").exists()
    prune(stage, source, tmp_path / "killed")
    straight, killed = (tmp_path / f"{name}/out.pt" for name in ("straight", "killed"))
    assert straight.read_bytes() == killed.read_bytes()


@pytest.mark.parametrize("importance", ["magnitude", "taylor", "fisher", "gradient-share"])
def test_every_importance_reaches_the_goal(source, tmp_path, importance):
    stage = replace(QUICK, importance=importance, recovery_epochs=0)
    metrics, _ = prune(stage, source, tmp_path)
    assert 0.4 < metrics["macs_ratio"] <= 0.6


def test_all_macs_kept_is_nothing_to_do(source, tmp_path):
    metrics, ctx = prune(replace(QUICK, ratio=1.0), source, tmp_path)
    assert metrics["macs_after"] == metrics["macs_before"]
    assert ctx.notes == []
    before, after = load_module(source)[0], load_module(tmp_path / "out.pt")[0]
    assert all(torch.equal(t, after.state_dict()[n]) for n, t in before.state_dict().items())


def test_a_goal_out_of_reach_is_said_in_the_notes(source, tmp_path):
    stage = replace(QUICK, ratio=0.01, recovery_epochs=0, channel_multiple=8)
    metrics, ctx = prune(stage, source, tmp_path)
    assert metrics["macs_ratio"] > 0.1
    (note,) = ctx.notes
    assert note == (
        f"{metrics['macs_ratio']:.3f} of the MACs are left, 0.01 were asked for: "
        "no more blocks of 8 channels may be cut"
    )


def test_a_network_without_prunable_channels_is_left_as_it_is(source, tmp_path):
    stage = replace(QUICK, keep=("*",))
    metrics, ctx = prune(stage, source, tmp_path)
    assert metrics["macs_after"] == metrics["macs_before"]
    assert ctx.notes[0] == "nothing was cut: no group of channels may be"


def test_a_weight_that_is_not_a_number_is_named(source, tmp_path):
    module, meta = load_module(source)
    with torch.no_grad():
        module.head.weight[0, 0] = math.nan
    save_module(tmp_path / "nan.pt", module, meta)
    with pytest.raises(InputError) as caught:
        prune(QUICK, tmp_path / "nan.pt", tmp_path)
    assert caught.value.message == (
        f"{tmp_path / 'nan.pt'}: tensor head.weight holds 1 values that are NaN or infinite"
    )


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("ratio", 0.0, "prune: ratio = 0.0"),
        ("ratio", 1.1, "prune: ratio = 1.1"),
        ("steps", 0, "prune: steps = 0"),
        ("channel_multiple", 0, "prune: channel-multiple = 0"),
    ],
)
def test_options_out_of_range_are_refused(option, value, message):
    with pytest.raises(ConfigError) as caught:
        PruneStage(**{option: value})
    assert caught.value.message == message
