"""torchvision as PyPI has it, whose library does not load beside a CPU build of PyTorch."""

import os
import subprocess
import sys
from pathlib import Path

# What importing it does there: it registers a fake of an operator that nobody has declared.
TORCHVISION = """
import torch

@torch.library.register_fake("torchvision::nms")
def _(dets, scores, iou_threshold): ...
"""
MODELS = """
from torch import nn

def tiny():
    pooled = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(pooled, nn.Linear(8, 10))
"""
PROGRAM = [sys.executable, "-c", "from edgekiln.compiler.cli import main; main()"]
BUILD = [
    "build", "torchvision.models:tiny", "--data", "digits", "--skip", "distill", "--skip", "prune",
    "--bench-seconds", "0",
]  # fmt: skip


def edgekiln(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: what PyTorch knows of operators lasts for its life."""
    env = {**os.environ, "EDGEKILN_STORE": str(home / "store"), **more}
    return subprocess.run(
        [*PROGRAM, *arguments], cwd=home, env=env, capture_output=True, text=True, check=False
    )


def test_a_model_of_torchvision_is_built_beside_a_cpu_build_of_pytorch(tmp_path: Path) -> None:
    package = tmp_path / "site" / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(TORCHVISION)
    (package / "models.py").write_text(MODELS)
    done = edgekiln(tmp_path, *BUILD, PYTHONPATH=str(package.parent))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "dist" / "tiny-host.ekb").is_file()


def test_a_package_that_cannot_be_imported_is_named_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("1 / 0\n")
    (tmp_path / "broken" / "nets.py").write_text(MODELS)
    done = edgekiln(tmp_path, "build", "broken.nets:tiny", "--data", "digits")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "broken.nets: importing it raised ZeroDivisionError" in done.stderr
