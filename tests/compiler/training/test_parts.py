"""The parts of the fit loop: schedule, average, optimizer, generators, checkpoints, precision."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from edgekiln.compiler.training import checkpoint, optimizer, precision
from edgekiln.compiler.training.distributed import join
from edgekiln.compiler.training.ema import Ema
from edgekiln.compiler.training.reproducible import derived_seed, reproducible, seed_everything
from edgekiln.compiler.training.schedule import learning_rate
from edgekiln.runtime.errors import InputError


def test_the_learning_rate_rises_and_falls():
    rates = [learning_rate(step, peak=1.0, total=100, warmup=10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[99] < 0.001


def test_without_warm_up_it_starts_at_its_peak():
    assert learning_rate(0, peak=0.3, total=10, warmup=0) == 0.3


def test_the_average_forgets_its_start_and_then_moves_slowly():
    module = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    ema = Ema(module, decay=0.9)
    with torch.no_grad():
        module[0].weight.fill_(1.0)
        module[1].num_batches_tracked.fill_(7)
    for _ in range(200):
        ema.update(module)
    assert ema.state["0.weight"].item() == pytest.approx(1.0, abs=0.01)
    assert ema.state["1.num_batches_tracked"] == 7
    with torch.no_grad():
        module[0].weight.fill_(0.0)
    ema.update(module)
    assert ema.state["0.weight"].item() == pytest.approx(0.9, abs=0.01)


def test_biases_and_norms_are_not_decayed():
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 2))
    made = optimizer.make("adamw", module, learning_rate=0.1, weight_decay=0.5)
    (adamw,) = made.parts
    decays = {id(p): group["weight_decay"] for group in adamw.param_groups for p in group["params"]}
    # In order: the convolution, the norm, the linear layer; weights before biases.
    assert [decays[id(p)] for p in module.parameters()] == [0.5, 0.0, 0.0, 0.0, 0.5, 0.0]


def test_frozen_parameters_are_not_trained():
    module = nn.Linear(2, 2)
    module.weight.requires_grad_(False)
    made = optimizer.make("sgd", module, learning_rate=0.1, weight_decay=0.0)
    (sgd,) = made.parts
    assert [len(group["params"]) for group in sgd.param_groups] == [1]


def test_seeds_of_neighbours_are_unrelated():
    seeds = {derived_seed(seed, epoch) for seed in range(10) for epoch in range(10)}
    assert len(seeds) == 100
    assert derived_seed(-1, 0) != derived_seed(1, 0)


def test_all_generators_are_seeded_and_then_put_back():
    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    seed_everything(5)
    expected = draws()
    seed_everything(1)
    before = draws()
    seed_everything(1)
    with reproducible():
        seed_everything(5)
        assert draws() == expected
    assert draws() == before


def test_a_killed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "c.ckpt"
    checkpoint.save(path, {"epoch": 1})

    def die(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", die)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, {"epoch": 2})
    loaded = checkpoint.load(path)
    assert loaded is not None
    assert loaded["epoch"] == 1


def test_a_checkpoint_of_another_format_is_refused(tmp_path):
    torch.save({"format": 99}, tmp_path / "c.ckpt")
    with pytest.raises(InputError) as caught:
        checkpoint.load(tmp_path / "c.ckpt")
    assert caught.value.message == f"{tmp_path / 'c.ckpt'}: not a checkpoint of format 5"


def test_the_faster_precision_is_found_without_touching_the_module():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 2))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert precision.faster(module, torch.randn(4, 1, 8, 8)) in ("float32", "bf16")
    assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())


def test_alone_a_process_is_the_world():
    world = join()
    assert (world.rank, world.size) == (0, 1)
    assert world.any(True)
    assert not world.any(False)
    module = nn.Linear(1, 1)
    assert world.wrap(module) is module
