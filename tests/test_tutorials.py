"""A newcomer's jobs, by nothing but the pages of docs/howto: each block is done as it stands there,
on little data and with trainings of one epoch.
"""

import shutil
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.targets import profile
from tests import emulated, readme
from tests.readme import ROOT, World, blocks

PAGES = ROOT / "docs" / "howto"
RATE_HZ = 16000


def nothing(_world: World) -> None:
    """The page has all of it."""


def pictures(world: World) -> None:
    """A float ONNX model, and a folder of pictures."""
    emulated.require(profile.load("rpi5"))
    readme.models(world)


ENCODER = """
import torch
from torch import nn

class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(1000, 16), nn.Linear(16, 4)

    def forward(self, tokens, mask):
        return self.out((self.words(tokens) * mask[:, :, None].float()).sum(1))

example = torch.zeros(1, 32, dtype=torch.int64), torch.ones(1, 32, dtype=torch.bool)
names = ["tokens", "mask"]
torch.onnx.export(Encoder().eval(), example, "encoder.onnx", input_names=names, dynamo=True)
"""


def two_inputs(world: World) -> None:
    """An exported model of tokens and a mask, samples of both, and one to run."""
    (world.home / "export.py").write_text(ENCODER)
    world.prepare("python export.py")
    rng = np.random.default_rng(0)
    tokens, mask = rng.integers(0, 1000, (60, 32)), rng.random((60, 32)) < 0.8
    np.savez(world.home / "samples.npz", tokens=tokens, mask=mask)
    np.save(world.home / "t.npy", tokens[:1])
    np.save(world.home / "m.npy", mask[:1])


def words(world: World) -> None:
    """A folder of sounds, of three tones in noise."""
    emulated.require(profile.load("cortex-m4"))
    rng = np.random.default_rng(0)
    for tone_hz, word in ((300, "yes"), (900, "no"), (2700, "up")):
        folder = world.home / "words" / word
        folder.mkdir(parents=True)
        for number in range(1, 21):
            beat = np.sin(2 * np.pi * tone_hz * np.arange(RATE_HZ) / RATE_HZ)
            samples = 8000 * beat + rng.normal(0, 800, RATE_HZ)
            with wave.open(str(folder / f"{number}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(RATE_HZ)
                file.writeframes(samples.astype("<i2").tobytes())


def detector(world: World) -> None:
    """The files of examples/tasks that the page names."""
    for file in (ROOT / "examples" / "tasks").glob("shapes.*"):
        shutil.copy(file, world.home)
    recipe = world.home / "shapes.toml"
    recipe.write_text(readme.EPOCHS.sub("epochs = 1", recipe.read_text()))


@pytest.mark.parametrize(
    ("page", "sections", "prepare"),
    [
        ("tasks", ["Your own data set and your own loss"], nothing),
        ("without-labels", [""], pictures),
        ("without-labels", ["A function of your own", "Several inputs"], two_inputs),
        ("microcontroller", ["Hear words"], words),
        ("detector", ["From nothing to boxes"], detector),
    ],
    ids=["own loss", "no labels", "two inputs", "words", "detector"],
)
def test_a_newcomer_gets_a_program_by_the_page_alone(
    page: str, sections: list[str], prepare: Callable[[World], None], tmp_path: Path
) -> None:
    world = World(tmp_path / "work", tmp_path / "store")
    prepare(world)
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    chosen = [block for block in blocks(text) if block.section in sections]
    # A table of TOML that has no file's name shows a part of one.
    done = [each for each in chosen if each.language != "toml" or readme.NAMED.match(each.text)]
    assert any(block.language == "sh" for block in done)
    assert world.failure(done) == ""
    assert list((world.home / "dist").glob("*.ekb"))
