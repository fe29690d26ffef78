"""What else a network is pruned by than the magnitude of channels and their MACs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.key import recipe_of
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.pruning.importance import batch_norm_scales
from edgekiln.compiler.stages.distill import DistillStage
from edgekiln.compiler.stages.prune import PruneStage
from edgekiln.models import artifact
from edgekiln.models import data as sets
from edgekiln.models.artifact import load_module
from edgekiln.models.depth import removed_blocks
from edgekiln.runtime.errors import ConfigError
from edgekiln.targets import profile
from tests.compiler import artifacts

DATA = "digits?limit=120&test=40&val=40&calib=20&size=8"
QUICK = PruneStage(ratio=0.6, recovery_epochs=0, channel_multiple=2)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return made(tmp_path_factory.mktemp("source") / "net.pt", "resnet8?width=8")


def made(path: Path, model: str) -> Path:
    artifact.create(path, model, sets.load(DATA, 0), DATA, seed=0)
    return path


def prune(stage: PruneStage, src: Path, home: Path) -> tuple[dict[str, float], StageContext]:
    ctx = StageContext(scratch=home / "scratch")
    home.mkdir(exist_ok=True)
    return dict(stage.run(artifacts.of(src), home / "out.pt", ctx)), ctx


def test_every_budget_is_met(source, tmp_path):
    stage = replace(QUICK, ratio=0.8, budget=("parameters=0.5", "arena=0.6", "bytes=0.7"))
    metrics, ctx = prune(stage, source, tmp_path)
    assert metrics["macs_ratio"] <= 0.8
    assert metrics["parameters_after"] <= 0.5 * metrics["parameters_before"]
    assert metrics["arena_ratio"] <= 0.6
    assert metrics["bytes_ratio"] <= 0.7
    assert ctx.notes == []


def test_a_budget_takes_the_place_of_the_ratio(source, tmp_path):
    metrics, _ = prune(replace(QUICK, ratio=None, budget=("parameters=0.7",)), source, tmp_path)
    assert 0.5 * metrics["parameters_before"] < metrics["parameters_after"]
    assert metrics["parameters_after"] <= 0.7 * metrics["parameters_before"]


def test_a_budget_out_of_reach_is_named(source, tmp_path):
    stage = replace(QUICK, ratio=None, budget=("parameters=0.001",), channel_multiple=8)
    _, ctx = prune(stage, source, tmp_path)
    (note,) = ctx.notes
    assert note.endswith(
        "of the parameters are left, 0.001 were asked for: no more blocks of 8 channels may be cut"
    )


def test_a_ratio_and_a_budget_of_macs_are_one_too_many():
    with pytest.raises(ConfigError) as caught:
        replace(QUICK, budget=("macs=0.5",)).budgets()
    assert caught.value.message == "prune: two budgets of macs"


def test_the_target_counts_only_for_budgets_that_ask_it(source):
    src = artifacts.of(source)
    by_macs = replace(QUICK, budget_target=("rpi4",)).settled(src)
    assert by_macs.budget_target == ()
    assert not any(name.startswith("target") for name in by_macs.uses(src, None))
    by_latency = replace(QUICK, budget=("latency=0.5",), budget_target=("rpi4",)).settled(src)
    used = by_latency.uses(src, None)
    assert "target rpi4" in used
    assert used["costs"]
    assert _key(by_macs, src) != _key(by_latency, src)


def test_a_build_holds_budgets_against_its_own_targets_unless_others_are_named(source):
    src = artifacts.of(source)
    own = replace(profile.load("rpi4"), name="own")  # of a file of the user's
    build = replace(QUICK, budget=("latency=0.5",), build_targets=(own,))
    assert "target own" in build.settled(src).uses(src, None)
    named = replace(build, budget_target=("rpi5",)).settled(src)
    assert {"target rpi5"} == {name for name in named.uses(src, None) if "target" in name}
    by_macs = replace(QUICK, build_targets=(own,)).settled(src)
    assert by_macs == QUICK.settled(src)


def _key(stage: PruneStage, src: Artifact) -> object:
    return recipe_of(stage, src, None)["uses"]


def test_an_unknown_target_is_named_before_anything_runs(source):
    stage = replace(QUICK, budget=("latency=0.5",), budget_target=("rpi44",))
    with pytest.raises(ConfigError, match="rpi44"):
        stage.settled(artifacts.of(source)).uses(artifacts.of(source), None)


@pytest.mark.slow
def test_a_budget_of_latency_is_met_and_compared_with_the_program(tmp_path):
    stage = replace(QUICK, ratio=None, budget=("latency=0.8",), channel_multiple=8)
    metrics, ctx = prune(stage, made(tmp_path / "net.pt", "resnet8?width=16"), tmp_path)
    assert metrics["latency_ratio"] <= 0.8 or "were asked" in ctx.notes[0]
    assert metrics["latency_ratio"] < 1
    assert metrics["latency_s_after"] > 0
    assert metrics["latency_s_before"] > 0
    assert any(
        note.startswith("whole program on host (measured on") and "predicted" in note
        for note in ctx.notes
    )


@pytest.mark.slow
def test_a_budget_in_bytes_is_of_the_targets_program(source, tmp_path):
    stage = replace(QUICK, ratio=None, budget=("arena=2KiB",))
    metrics, ctx = prune(stage, source, tmp_path)
    assert metrics["arena_program_after"] < metrics["arena_program_before"]
    assert metrics["arena_ratio"] == pytest.approx(
        metrics["arena_program_after"] / metrics["arena_program_before"], abs=0.2
    )
    assert any("whole program on host: arena" in note for note in ctx.notes)


@pytest.mark.parametrize("importance", ["hessian", "batch-norm-scale"])
def test_further_importances_reach_the_goal(source, tmp_path, importance):
    metrics, _ = prune(replace(QUICK, importance=importance), source, tmp_path)
    assert 0.4 < metrics["macs_ratio"] <= 0.6


def test_blocks_go_first_and_are_named(tmp_path):
    src = made(tmp_path / "net.pt", "vit?dim=16&depth=3&num_heads=1&patch=4")
    stage = replace(QUICK, blocks=2, steps=2, ratio=0.4)
    metrics, ctx = prune(stage, src, tmp_path)
    gone = removed_blocks(load_module(tmp_path / "out.pt")[0])
    assert len(gone) == 2
    assert f"blocks removed: {', '.join(gone)}" in ctx.notes
    assert metrics["macs_ratio"] <= 0.4


def test_whole_heads_of_a_transformer_go(tmp_path):
    src = made(tmp_path / "net.pt", "vit?dim=16&depth=1&num_heads=4&patch=2")
    metrics, _ = prune(replace(QUICK, ratio=0.7, heads="whole"), src, tmp_path)
    attention = load_module(tmp_path / "out.pt")[0].blocks[0].attention
    assert attention.q.out_features == 4 * attention.num_heads
    assert metrics["macs_ratio"] <= 0.7


def test_sparse_training_comes_before_the_first_cut(source, tmp_path):
    stage = replace(
        QUICK, importance="batch-norm-scale", sparsity_epochs=2, sparsity=10.0,
        learning_rate=5e-2, ema=0.0, batch_size=8,
    )  # fmt: skip
    prune(stage, source, tmp_path)

    def scales(path: Path) -> float:
        module = load_module(path)[0]
        return sum(p.abs().sum().item() for p in batch_norm_scales(module).values())

    assert scales(tmp_path / "scratch/sparse.pt") < 0.95 * scales(source)
    assert (tmp_path / "scratch/round-0.pt").exists()


def test_rounds_but_the_last_recover_for_their_share(source, tmp_path):
    told: list[str] = []
    stage = replace(QUICK, steps=2, recovery_epochs=3, recovery_share=0.3, cut_schedule="cubic")
    ctx = StageContext(scratch=tmp_path / "s", advance=lambda _d, _t, text: told.append(text))
    stage.run(artifacts.of(source), tmp_path / "out.pt", ctx)
    assert any(text.startswith("cut 1/2: epoch 1/1") for text in told)
    assert any(text.startswith("cut 2/2: epoch 3/3") for text in told)


@pytest.mark.parametrize("when", ["sparsity: epoch 1", "cut 2/2: epoch 1"])
def test_a_killed_stage_of_all_kinds_resumes_to_the_same_bytes(tmp_path, when):
    src = made(tmp_path / "net.pt", "vit?dim=16&depth=2&num_heads=1&patch=4")
    stage = replace(QUICK, steps=2, blocks=1, recovery_epochs=1, sparsity_epochs=1, ratio=0.5)
    _, straight = prune(stage, src, tmp_path / "straight")

    def die(_done: int, _total: int, text: str) -> None:
        if text.startswith(when):
            raise KeyboardInterrupt

    killed = StageContext(scratch=tmp_path / "killed/scratch", advance=die)
    (tmp_path / "killed").mkdir()
    with pytest.raises(KeyboardInterrupt):
        stage.run(artifacts.of(src), tmp_path / "killed/out.pt", killed)
    _, again = prune(stage, src, tmp_path / "killed")
    assert (tmp_path / "killed/out.pt").read_bytes() == (tmp_path / "straight/out.pt").read_bytes()
    assert again.notes == straight.notes


def test_another_teacher_teaches_the_pruned_network(source, tmp_path):
    wise = tmp_path / "wise.pt"
    ctx = StageContext(scratch=tmp_path / "d")
    DistillStage(epochs=1, batch_size=16).run(
        artifacts.of(made(tmp_path / "wide.pt", "resnet8?width=8")), wise, ctx
    )
    stage = replace(QUICK, recovery_epochs=2, learning_rate=2e-2, ema=0.0, batch_size=16)
    prune(stage, source, tmp_path / "own")
    prune(replace(stage, teacher=(str(wise),)), source, tmp_path / "other")
    own, other = (load_module(tmp_path / f"{name}/out.pt")[0] for name in ("own", "other"))
    assert own.head.weight.shape == other.head.weight.shape
    assert not torch.equal(own.head.weight, other.head.weight)
    assert replace(stage, teacher=(str(wise),)).uses(artifacts.of(source), None)["teacher 1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": -1}, "prune: blocks = -1"),
        ({"sparsity": 0.0}, "prune: sparsity = 0.0"),
        ({"recovery_share": 1.5}, "prune: recovery-share = 1.5"),
        ({"budget": ("latency",)}, "prune: budget 'latency'"),
        (
            {"teacher": ("t.pt",), "training_step": "own:step"},
            "prune: a teacher and a training-step of your own",
        ),
    ],
)
def test_further_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError) as caught:
        PruneStage(**options)
    assert caught.value.message == message
