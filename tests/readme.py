"""The README's blocks, and the world in which its commands find what they name."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from PIL import Image

from edgekiln.benchmarks.fuzz.seeds import write_exported
from edgekiln.benchmarks.tflite.network import network
from tests.compiler import float_models
from tests.e2e.ci_models import classifier
from tests.runtime.device import sshd

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ("resnet8", "mypackage.nets:make_net")

# Options that a test appends to a command, so that it ends in seconds on the same code: less
# training, shorter trials. The last of an option given twice counts.
QUICKLY: Mapping[str, tuple[str, ...]] = {
    "build": ("--bench-seconds", "0.02"),
    "distill": ("--epochs", "1", "--teacher-epochs", "0"),
    "prune": ("--recovery-epochs", "1"),
    "bench": ("--trials", "1", "--min-seconds", "0.05"),
    "tune": ("--trials", "1"),
}
EPOCHS = re.compile(r"\bepochs = \d+")
NAMED = re.compile(r"# (\w+\.(?:py|toml))\n")  # a block that begins so is that file
RECIPE = 'skip = ["prune"]\n[distill]\nepochs = 1\n'

NETS = """
from torch import nn

def make_net():
    layers = [nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, 3))
"""
PROJECT = """
[defaults]
targets = ["x86-64-v3"]
data = "digits"
bench-seconds = 0.02
gates = { max-accuracy-drop = 1, max-arena-bytes = 4096 }
[models.net]
model = "nets/net.onnx"
"""


@dataclass(frozen=True)
class Block:
    """A code block: `language` is "shell" for indented ones, else what stands after the fence."""

    section: str
    language: str
    text: str


def blocks(text: str) -> Iterator[Block]:
    """The code blocks of a Markdown text, by its sections of the second level."""
    section = fence = ""
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        if fence and line != "```":
            lines.append(line)
        elif line.startswith("```"):
            if fence:
                yield Block(section, fence, _whole(lines))
            fence, lines = line.removeprefix("```"), []
        elif line.startswith("    ") or (lines and not line):
            lines.append(line.removeprefix("    "))
        else:
            if lines:
                yield Block(section, "shell", _whole(lines))
            lines = []
            section = line.removeprefix("## ") if line.startswith("## ") else section
    if lines:
        yield Block(section, "shell", _whole(lines))


def _whole(lines: list[str]) -> str:
    return "\n".join(lines).strip() + "\n"


class World:
    """A directory, a home, a store and a PATH, in which the README's commands are run."""

    def __init__(self, home: Path, store: Path) -> None:
        self.home = home
        shims, self.user = home.parent / "bin", home.parent / "user"
        for directory in (home, shims, self.user / ".ssh"):
            directory.mkdir(parents=True)
        (home.parent / "quick.toml").write_text(RECIPE)
        _shims(shims, home.parent / "quick.toml")
        self.env = {
            **os.environ,
            "PATH": f"{shims}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.user), "EDGEKILN_STORE": str(store), "OMP_NUM_THREADS": "1",
            "BROWSER": "true", "COLUMNS": "120", "PYTHONPATH": str(home),
        }  # fmt: skip

    def failure(self, chosen: Iterable[Block]) -> str:
        """Do with each block what its reader does; what the first that fails has printed, or ""."""
        return next(filter(None, map(self._failure, chosen)), "")

    def _failure(self, block: Block) -> str:
        if named := NAMED.match(block.text):
            (self.home / named[1]).write_text(EPOCHS.sub("epochs = 1", block.text))
            return ""
        if block.language == "c":
            (self.home / "example.c").write_text(block.text)
            return ""
        if block.language == "toml":
            (self.home / "devices.toml").write_text(block.text)
            return self._start("bash", "-c", "edgekiln devices list")
        if block.language == "python":
            return self._start(sys.executable, "-c", block.text)
        if block.language in ("shell", "sh"):
            return self._start("bash", "-euo", "pipefail", "-c", block.text)
        return "" if block.language == "text" else f"a reader cannot run {block.language}"

    def prepare(self, text: str) -> None:
        """Commands that a reader has run before."""
        failure = self._start("bash", "-euo", "pipefail", "-c", text)
        assert not failure, failure

    def _start(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.home, env=self.env, capture_output=True, text=True, check=False,
            timeout=600, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        said = f"{command[-1]}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return said if done.returncode else ""


def _shims(folder: Path, recipe: Path) -> None:
    """`edgekiln`, `pip` and `make` of the test: the real ones, told to be quick and offline."""
    options = json.dumps({name: list(extra) for name, extra in QUICKLY.items()})
    programs = {
        "edgekiln": f"""#!{sys.executable}
import sys
from edgekiln.compiler.cli import main

if __name__ == "__main__":  # not in the processes that it starts
    sys.argv += {options}.get(sys.argv[1], [])
    if sys.argv[1] == "build" and sys.argv[2] in {TARGETS}:
        sys.argv += ["--recipe", {str(recipe)!r}]
    main()
""",
        # Without the network: setuptools comes from this environment, dependencies stay away.
        "pip": f"""#!/bin/sh
exec {sys.executable} -m pip --quiet "$@" --no-build-isolation --no-index
""",
        # What `make` would do is printed: the tests themselves are one of its targets.
        "make": f"""#!/bin/sh
exec {shutil.which("make")} --dry-run --directory {ROOT} "$@"
""",
    }
    for name, content in programs.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)


def models(world: World) -> None:
    """A factory, float and quantized ONNX, and data in folders and in an archive."""
    rng = np.random.default_rng(0)
    (world.home / "mypackage").mkdir()
    (world.home / "mypackage" / "nets.py").write_text(NETS)
    for label, name in enumerate(("red", "green", "blue")):
        (world.home / "photos" / name).mkdir(parents=True)
        for index in range(40):
            pixels = rng.integers(0, 60, (16, 16, 3), np.uint8)
            pixels[..., label] += 150
            Image.fromarray(pixels).save(world.home / "photos" / name / f"{index}.png")
    (world.home / "pictures").mkdir()
    for index in range(10):
        pixels = rng.integers(0, 256, (40, 30, 3), np.uint8)
        Image.fromarray(pixels).save(world.home / "pictures" / f"{index}.png")
    labels = np.arange(120) % 10
    images = rng.integers(0, 256, (120, 32, 32, 3), np.uint8)
    np.savez(world.home / "cifar.npz", x_train=images, y_train=labels)
    weights = float_models.RESIDUAL_WEIGHTS
    model = float_models.make(float_models.CONV_RELU_CONV_ADD, weights)
    onnx.save(model, world.home / "model.onnx")
    classifier(world.home / "model-int8.onnx")
    (world.home / "model-int8.tflite").write_bytes(network(rng).file)
    write_exported(world.home / "model.pt2")


def bundles(world: World) -> None:
    """What a build of ResNet-8 has left, a photo of a digit, a small model to tune, the clone."""
    world.prepare("edgekiln build resnet8 --target host --out dist")
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(pixels).save(world.home / "digit.png")
    classifier(world.home / "small-int8.onnx")
    for name in ("compiler", "targets", "runtime", "models", "benchmarks"):
        ignored = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / name, world.home / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, world.home)


def project(world: World) -> None:
    """A repository whose main branch holds the lock and the results of an earlier run."""
    (world.home / "nets").mkdir()
    classifier(world.home / "nets" / "net.onnx")
    (world.home / "edgekiln.toml").write_text(PROJECT)
    world.prepare("""
        git init --quiet --initial-branch main
        edgekiln ci
        cp dist/results.json edgekiln.results.json
        cp -r dist other
        git add edgekiln.toml edgekiln.lock edgekiln.results.json nets
        git -c user.name=reader -c user.email=reader@localhost commit --quiet --message first
        git update-ref refs/remotes/origin/main HEAD
        ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519
    """)


def board(world: World, server: sshd.Sshd) -> None:
    """The README's Pi is this machine behind a real sshd: it gets this machine's bundle."""
    world.prepare("edgekiln build resnet8 --target host --out here")
    shutil.copy(world.home / "here" / "resnet8-host.ekb", world.home / "dist" / "resnet8-rpi5.ekb")
    table = {"url": server.url, "dir": str(world.user / "board"), "ssh-config": str(server.config)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    (world.home / "devices.toml").write_text("\n".join(["[pi]", *lines]) + "\n")


PREPARED: Mapping[str, Callable[[World], None]] = {
    "Build your own": models,
    "Run it": bundles,
    "Build them all, in CI": project,
}
