"""Data-parallel training by torchrun: two processes, one network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import sys
from pathlib import Path
import torch
from edgekiln.compiler.training.distributed import join
from edgekiln.compiler.training.fit import fit
from edgekiln.compiler.training.loss import Objective
from edgekiln.compiler.training.options import FitOptions
from tests.compiler.training.conftest import small_data, tiny

home, stop = Path(sys.argv[1]), sys.argv[2] == "stop"
world = join()

def stop_early(done, total, text):
    if stop and text.startswith("epoch 3"):
        sys.exit(0)

module = tiny(seed=world.rank)
options = FitOptions(epochs=4, batch_size=16, learning_rate=0.01, patience=int(sys.argv[3]))
path = home / "c.ckpt"
result = fit(
    module, small_data(), Objective(), options, checkpoint_path=path, advance=stop_early
)
torch.save({"state": module.state_dict(), "epochs": result.epochs}, home / f"rank{world.rank}.pt")
"""


KEPT = ("--teacher", "self", "--teacher-views", "1")


def torchrun(home: Path, *, stop: bool = False, patience: int = 0) -> None:
    home.mkdir(exist_ok=True)
    script = home / "train.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [*command, script, home, "stop" if stop else "run", str(patience)],
        check=True,
        env=environment,
        capture_output=True,
        timeout=300,
    )


def result(home: Path, rank: int) -> dict[str, object]:
    return torch.load(home / f"rank{rank}.pt", weights_only=True)


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.slow
def test_two_processes_train_one_network_and_resume_to_the_same_bits(tmp_path):
    torchrun(tmp_path / "straight")
    straight = [result(tmp_path / "straight", rank) for rank in (0, 1)]
    assert_same(straight[0]["state"], straight[1]["state"])

    torchrun(tmp_path / "resumed", stop=True)
    torchrun(tmp_path / "resumed")
    assert_same(straight[0]["state"], result(tmp_path / "resumed", 0)["state"])


@pytest.mark.slow
def test_all_processes_stop_at_the_same_epoch(tmp_path):
    torchrun(tmp_path / "run", patience=1)
    assert result(tmp_path / "run", 0)["epochs"] == result(tmp_path / "run", 1)["epochs"]


@pytest.mark.slow
def test_the_commands_train_on_all_processes_and_publish_once(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    edgekiln = Path(sys.executable).with_name("edgekiln")
    data = "digits?limit=200&test=40&val=40&calib=20&size=16"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "EDGEKILN_STORE": str(tmp_path / "store")}
    for stage, src, options in (
        ("distill", "resnet8?width=8", ["--epochs", "2"]),
        # The unpruned network teaches, through layers that all processes train alike.
        ("prune", str(tmp_path / "distill.pt"), ["--recovery-epochs", "1", "--hint", "auto"]),
        ("distill", str(tmp_path / "prune.pt"), ["--epochs", "1", *KEPT]),
    ):
        output = tmp_path / f"{stage}.pt"
        subprocess.run(
            [*command, "--no-python", edgekiln, stage, src, "-o", output, "--data", data, *options],
            check=True,
            env=environment,
            capture_output=True,
            timeout=300,
        )
        assert output.exists()
    # Each process keeps what the teacher says of its own part of the samples.
    found = [path.read_bytes()[:400] for path in (tmp_path / "store" / "compiled").iterdir()]
    assert len([content for content in found if b'"samples": ' in content]) == 2
    assert list((tmp_path / "store" / "tmp").iterdir()) == []
    assert list((tmp_path / "store" / "scratch").iterdir()) == []
