"""What each part of a network is worth, cut alone."""

import json

import pytest
import torch

from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.prune_sensitivity import PruneSensitivity, PruneSensitivityStage
from edgekiln.models import artifact
from edgekiln.models import data as sets
from edgekiln.models.artifact import load_module, save_module
from edgekiln.runtime import codec
from edgekiln.runtime.errors import ConfigError
from tests.compiler import artifacts

DATA = "digits?limit=120&test=40&val=40&calib=20&size=8"


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> PruneSensitivity:
    """Of a network of which half of a layer, and a whole block, do nothing."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("sensitivity")
    artifact.create(home / "net.pt", "resnet8?width=8", sets.load(DATA, 0), DATA, seed=0)
    module, meta = load_module(home / "net.pt")
    with torch.no_grad():
        module.blocks[2].bn1.weight[::2] = 0.0
        module.blocks[2].bn1.bias[::2] = 0.0
        module.blocks[2].conv1.weight[::2] = 0.0
        module.blocks[0].bn2.weight.zero_()
        module.blocks[0].bn2.bias.zero_()
    save_module(home / "net.pt", module, meta)
    stage = PruneSensitivityStage(part=(0.75, 0.5))
    src = artifacts.of(home / "net.pt")
    stage.settled(src).run(src, home / "out.json", StageContext(scratch=home))
    return codec.decode(PruneSensitivity, json.loads((home / "out.json").read_text()))


def test_what_does_nothing_costs_nothing_and_the_rest_does(report):
    parts = {part.name: part for part in report.parts}
    half, more = parts["blocks.2.conv1"].cuts
    assert (half.part, more.part) == (0.5, 0.75)
    assert half.loss == pytest.approx(report.loss, rel=1e-5)
    assert abs(more.loss - report.loss) > 1e-5 * report.loss
    (removed,) = parts["blocks.0"].cuts
    assert parts["blocks.0"].is_block
    assert removed.loss == pytest.approx(report.loss, rel=1e-5)


def test_every_cut_says_what_it_saves(report):
    assert report.samples == 40
    for part in report.parts:
        saved = [cut.macs_saved for cut in part.cuts]
        assert 0 < saved[0] < report.macs
        assert saved == sorted(saved)
        assert all(set(cut.metrics) == set(report.metrics) for cut in part.cuts)


def test_a_part_that_is_none_is_refused():
    with pytest.raises(ConfigError) as caught:
        PruneSensitivityStage(part=(0.5, 1.0))
    assert caught.value.message == "sensitivity: part = 1"
