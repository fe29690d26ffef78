"""Stages that read a module say so, so that what the store holds already decides nothing."""

from pathlib import Path

import pytest
import torch

from edgekiln.compiler.build.recipe import stage_class
from edgekiln.compiler.build.stage_table import STAGES
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.stage import Stage
from edgekiln.compiler.stages.distill import DistillStage
from edgekiln.compiler.stages.evaluate import EvaluateStage
from edgekiln.compiler.stages.prune_sensitivity import PruneSensitivityStage
from edgekiln.compiler.stages.slim import SlimStage
from edgekiln.models import artifact, data
from edgekiln.runtime.errors import InputError

CLASSES: set[type[Stage]] = {
    *map(stage_class, STAGES),
    EvaluateStage,
    PruneSensitivityStage,
    SlimStage,
}
NONE: frozenset[str] = frozenset()


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("modules") / "theirs.pt"
    artifact.create(path, "resnet8", data.load("digits"), "digits", seed=0)
    torch.save(torch.load(path, weights_only=True) | {"factory": "nets:tiny"}, path)
    return path


@pytest.mark.parametrize("name", sorted(cls.name for cls in CLASSES if "module" in cls.takes))
def test_each_stage_that_takes_a_module_has_its_factory_looked_at(name: str, theirs: Path) -> None:
    (cls,) = (cls for cls in CLASSES if cls.name == name)
    module = Artifact.of_file(theirs, "module")
    with pytest.raises(InputError, match="asks for 'nets:tiny' to be called"):
        cls().require_allowed(module, NONE)
    cls().require_allowed(module, frozenset({"nets:tiny"}))


def test_teachers_in_files_are_looked_at_like_the_student(theirs: Path) -> None:
    stage = DistillStage(teacher=("resnet20", str(theirs)))
    with pytest.raises(InputError, match="asks for 'nets:tiny' to be called"):
        stage.require_allowed(None, NONE)
    stage.require_allowed(None, frozenset({"nets:tiny"}))
