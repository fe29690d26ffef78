"""`edgekiln search` and `pick` as a user runs them, on a real network, real data and this CPU."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from edgekiln.compiler.sweep.front_document import read_front
from edgekiln.runtime.example_check import check_example
from tests.cli.conftest import Cli
from tests.cli.test_sweep import NETS
from tests.compiler.search.fronts import front

RECIPE = """
data = "digits?limit=300"
skip = ["prune"]
[distill]
epochs = 1
shift = 0
[sweep]
model = "searched_nets:tiny"
"model.width" = [4, 8]
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe and the network that it is for, in the directory where the command runs."""
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "searched_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "searched_nets", raising=False)


def test_a_front_is_built_measured_checked_and_picked_from(cli: Cli, tmp_path: Path) -> None:
    options = ("--objectives", "bytes,latency", "--bench-seconds", 0.02, "--trials", 2)
    done = cli("search", "tiny.toml", *options)
    assert done.exit_code == 0, done.output
    assert "2 done" in done.stdout
    result, document = read_front(Path("dist/tiny-front"))
    assert {row.options["model.width"] for row in result.trials} == {"4", "8"}
    assert result.front
    for point in result.points:
        assert point.model == f"searched_nets:tiny?width={point.options['model.width']}"
        latency = point.values["latency"]
        assert 0 < latency.low <= latency.value <= latency.high
        assert point.check.where == "host"
        assert point.check.layers > 0
        assert point.check.samples > 0
        assert point.test[0].n > 0
        assert check_example(document.parent / point.bundle)
    # Fewer channels are fewer bytes: nothing can be better in these.
    smallest = min(result.points, key=lambda each: each.values["bytes"].value)
    assert smallest.on_front
    assert smallest.options["model.width"] == "4"
    # The directory can be moved, and a point's own recipe finds the very bundle in the store.
    moved = shutil.move(document.parent, tmp_path / "elsewhere")
    picked = json.loads(cli("pick", moved, "--by", "bytes", "--json").stdout)
    assert picked["point"]["trial"] == smallest.trial
    build = ("build", picked["point"]["model"], "--recipe", picked["recipe"], "--bench-seconds", 0)
    built = json.loads(cli(*build, "--json").stdout)
    assert built["targets"][0]["bundle_sha256"] == smallest.bundle_sha256
    assert all(step["cached"] for step in built["steps"])


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--objectives", "accuracy"), 2, "a front is of two objectives or more"),
        (("--objectives", "accuracy,latencie"), 2, "did you mean latency?"),
        (("--budget", "soon"), 2, "is no time; write 2h, 90m or 1h30m"),
        (("--param", "model.widht=4,8"), 2, "did you mean width?"),
        (("--param", "model.width=0,8"), 2, "model.width = 0"),
        (("--target", "cortex-m7", "--objectives", "accuracy,latency"), 2, "take its cycles"),
        (("--resume",), 2, "--resume: no study 'tiny'"),
    ],
)
def test_a_wrong_option_is_one_clear_error(
    cli: Cli, options: tuple[str, ...], code: int, message: str
) -> None:
    done = cli("search", "tiny.toml", *options)
    assert done.exit_code == code, done.output
    assert message in done.output
    assert "Traceback" not in done.output
    assert not Path("dist/tiny-front").exists()


@pytest.mark.parametrize("limit", ["latency<<5ms", "latency<5 parsecs", "bytes<", "macs<1e999"])
def test_a_limit_that_is_none_is_said_before_the_model_is_looked_for(cli: Cli, limit: str) -> None:
    recipe = Path("tiny.toml").read_text().replace("searched_nets:tiny", "searched_nets:no_such")
    Path("tiny.toml").write_text(recipe)
    done = cli("search", "tiny.toml", "--where", limit)
    assert done.exit_code == 2
    assert "--where" in done.output
    assert "no_such" not in done.output
    Path("tiny.toml").write_text(f'{recipe}\nwhere = ["{limit}"]\n')
    assert f"--where {limit}" in cli("sweep", "tiny.toml").output.replace("'", "")


def test_a_front_without_a_point_is_shown_and_is_no_success(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where each trial keeps to a limit by little, and no longer when it is measured well."""
    gone = tuple(
        replace(each, on_front=False, why="beyond latency < 1 µs") for each in front().points
    )
    empty = replace(front(), points=gone)
    monkeypatch.setattr("edgekiln.compiler.search.search.search", lambda *_, **__: empty)
    for shown in ((), ("--json",)):
        done = cli("search", "tiny.toml", *shown)
        assert done.exit_code == 11, done.output
        assert "error: the front has no points: trial 1 is beyond latency < 1 µs" in done.stderr
        assert "beyond latency < 1 µs" in done.stdout
