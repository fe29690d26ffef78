"""What a key holds besides code, options and input."""

import sys
from pathlib import Path

import pytest
import torch

from edgekiln.compiler.pipeline import factory_code as module
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.factory_code import factory_code
from edgekiln.compiler.stages.distill import DistillStage
from edgekiln.compiler.stages.export import ExportStage
from edgekiln.compiler.stages.uses_data import used_data
from edgekiln.models import artifact, data


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's directory with a network in two modules."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "used_nets.py").write_text("import used_blocks\ndef net(): return used_blocks.x\n")
    (tmp_path / "used_blocks.py").write_text("x = 1\n")
    (tmp_path / "used_package").mkdir()
    (tmp_path / "used_package/nets.py").write_text("from used_blocks import x as net\n")
    (tmp_path / "used_package/inner").mkdir()
    (tmp_path / "used_package/inner/__init__.py").write_text("from . import above\n")
    (tmp_path / "used_package/inner/above.py").write_text("from ..nets import net\n")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "used_nets:net",
        "used_nets:net?width=3",
        "used_package.nets:net",
        "used_package.inner.above:net",
        "used_package.inner:net",
    ],
)
def test_the_users_own_network_counts_with_what_it_imports(workplace: Path, name: str) -> None:
    before = factory_code(name)
    assert len(before) == 64
    (workplace / "used_blocks.py").write_text("x = 1  # a comment\n")
    (workplace / "unused.py").write_text("y = 1\n")
    assert factory_code(name) == before
    (workplace / "used_blocks.py").write_text("x = 2\n")
    assert factory_code(name) != before
    assert not {module for module in sys.modules if module.startswith("used_")}, "nothing is run"


def test_files_that_a_factorys_arguments_name_count_by_their_content(workplace: Path) -> None:
    name = "used_nets:net?width=3&weights=net.pt"
    absent = factory_code(name)
    assert absent == factory_code("used_nets:net")
    (workplace / "net.pt").write_bytes(b"first")
    first = factory_code(name)
    (workplace / "net.pt").write_bytes(b"trained again")
    assert len({absent, first, factory_code(name)}) == 3


def test_the_zoos_networks_count_by_their_code_and_others_by_their_version() -> None:
    assert factory_code("resnet8") == factory_code("resnet20")  # one module
    assert factory_code("resnet8") != factory_code("vit")
    assert factory_code("torch.nn:Linear") == f"torch {torch.__version__}"
    assert factory_code("no_such_package:net") == ""


def test_the_users_own_network_counts_wherever_python_finds_it(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert factory_code("used_package.nets:net") == ""
    monkeypatch.syspath_prepend(workplace)
    before = factory_code("used_package.nets:net")
    (workplace / "used_blocks.py").write_text("x = 2\n")
    assert factory_code("used_package.nets:net") != before


def test_versions_of_what_the_users_network_imports_count(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = factory_code("used_nets:net")
    (workplace / "used_blocks.py").write_text("import math, torch.nn\nx = 1\n")
    before = factory_code("used_nets:net")
    monkeypatch.setattr(module, "_installed_version", lambda top: f"{top} 99")
    assert len({plain, before, factory_code("used_nets:net")}) == 3


def test_a_file_that_cannot_be_parsed_still_counts(workplace: Path) -> None:
    (workplace / "used_blocks.py").write_text("def")
    before = factory_code("used_nets:net")
    (workplace / "used_blocks.py").write_text("def ")
    assert factory_code("used_nets:net") != before


def test_another_forward_retrains_though_the_weights_are_the_same(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key of a stage that runs a module holds the code that makes it, not its bytes alone."""
    monkeypatch.syspath_prepend(workplace)
    source = (
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, classes=10):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(3072, classes))\n"
    )
    (workplace / "forward_nets.py").write_text(source)
    path = workplace / "net.pt"
    artifact.create(path, "forward_nets:Net", data.load("digits"), "digits", seed=0)
    src = Artifact.of_file(path, "module")
    before = [
        stage.uses(src, None) for stage in (DistillStage(data="digits"), ExportStage(data="digits"))
    ]
    (workplace / "forward_nets.py").write_text(
        source + "    def forward(self, x): return super().forward(-x)\n"
    )
    monkeypatch.delitem(sys.modules, "forward_nets")  # as in another process
    after = [
        stage.uses(src, None) for stage in (DistillStage(data="digits"), ExportStage(data="digits"))
    ]
    assert [each["data"] for each in before] == [each["data"] for each in after]
    assert all(old["factory"] != new["factory"] for old, new in zip(before, after, strict=True))


def test_the_data_that_a_model_names_and_the_same_data_by_name_are_one_key(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    artifact.create(path, "resnet8", data.load("digits"), "digits", seed=0)
    src = Artifact.of_file(path, "module")
    assert ExportStage().settled(src) == ExportStage(data="digits")


def test_the_code_of_an_own_task_counts(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(workplace)
    source = (
        "from edgekiln.models.tasks.classification import Classification\n"
        "def task(): return Classification(label_smoothing={})\n"
    )
    (workplace / "used_task.py").write_text(source.format(0.1))
    plain, own = (used_data(f"digits?size=8{option}", 0) for option in ("", "&task=used_task:task"))
    assert set(plain) == {"data"}
    assert set(own) == {"data", "tasks"}
    (workplace / "used_task.py").write_text(source.format(0.2))
    monkeypatch.delitem(sys.modules, "used_task")  # as in another process
    again = used_data("digits?size=8&task=used_task:task", 0)
    assert again["data"] == own["data"]
    assert again["tasks"] != own["tasks"]
    sys.modules.pop("used_task", None)
