"""A point is picked from what is stored: the right one, at once, or a clear reason for none."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgekiln.compiler.search.pick import checked, picked
from edgekiln.compiler.sweep.front_document import SCHEMA, read_front
from edgekiln.runtime.bundle import sha256
from edgekiln.runtime.documents import document
from edgekiln.runtime.errors import BundleError, ConfigError, GateError, InputError
from tests.cli.conftest import Cli, cli
from tests.compiler.search.fronts import front

__all__ = ["cli"]
HOME = Path("dist/front.json")


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "front.json"
    path.write_text(document(SCHEMA, front()))
    return path


@pytest.mark.parametrize(
    ("where", "by", "trial"),
    [
        ((), "", 3),
        ((), "latency", 1),
        (("latency<30us",), "accuracy", 2),
        (("latency<30us", "bytes<30kB"), "accuracy", 1),
        (("accuracy>=85%",), "bytes", 2),
    ],
)
def test_the_best_within_the_limits_is_picked(where: tuple[str, ...], by: str, trial: int) -> None:
    found = picked(front(), HOME, where, by)
    assert found.point.trial == trial
    assert found.bundle == f"dist/trial-{trial}/resnet8-host.ekb"


def test_what_left_the_front_is_never_picked() -> None:
    with pytest.raises(GateError):
        picked(front(), HOME, ("bytes>40.5kB", "bytes<42kB"), "")


def test_a_limit_within_the_spread_is_said() -> None:
    found = picked(front(), HOME, ("latency<20.1us",), "")
    assert found.point.trial == 2
    assert found.doubts == ("latency < 20.1 µs: it was measured between 19.6 µs and 20.2 µs",)


def test_where_no_point_is_within_the_limits_the_nearest_is_told() -> None:
    expected = "no point of the front has latency < 5 µs: the nearest, trial 1, has latency 10 µs"
    with pytest.raises(GateError, match=expected):
        picked(front(), HOME, ("latency<5us",), "")


@pytest.mark.parametrize(
    ("where", "by", "message"),
    [((), "acuracy", "--by acuracy"), (("energy<1mJ",), "", "--where energy")],
)
def test_what_the_front_does_not_know_is_refused_by_name(
    where: tuple[str, ...], by: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        picked(front(), HOME, where, by)


def test_a_stored_front_reads_as_the_same_front(stored: Path) -> None:
    assert read_front(stored) == (front(), stored)
    assert read_front(stored.parent) == (front(), stored)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": "edgekiln.front/1"}', "\x00", "[" * 100_000]
)
def test_what_is_no_front_is_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "front.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"front\.json"):
        read_front(path)


def _damaged(path: tuple[str | int, ...], value: object) -> object:
    content = json.loads(document(SCHEMA, front()))
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_damaged(("objectives",), []), "objectives"),
        (_damaged(("objectives", 0, "name"), "latency"), "objectives"),
        (_damaged(("objectives", 0, "name"), "x"), "values.x: missing"),
        (_damaged(("points", 1, "values"), {}), r"points\[1\]"),
        (_damaged(("points", 0, "values", "bytes", "low"), float("nan")), "no number"),
        (_damaged(("model",), [[[]]] * 3), "model"),
        (_damaged(("points", 0, "values", "bytes", "low"), 9e9), "not within its own spread"),
        (_damaged(("points", 0, "bundle"), "/etc/passwd"), "is no file beside the front"),
        (_damaged(("points", 3, "recipe"), "../../x.toml"), "is no file beside the front"),
    ],
)
def test_a_front_that_lacks_something_is_one_clear_error(
    tmp_path: Path, content: object, message: str
) -> None:
    (tmp_path / "front.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_front(tmp_path)


def test_another_bundle_than_the_one_that_was_measured_is_not_picked(stored: Path) -> None:
    found = picked(*read_front(stored), (), "")
    bundle = Path(found.bundle)
    assert checked(found).doubts == (f"there is no {bundle}",)
    bundle.parent.mkdir()
    bundle.write_bytes(b"another")
    with pytest.raises(BundleError, match="another bundle than the one that was measured"):
        checked(found)
    own = replace(found.point, bundle_sha256=sha256(b"another"))
    assert checked(replace(found, point=own)).doubts == ()


def test_a_pipe_is_no_front(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "front.json")
    with pytest.raises(InputError, match="is not a regular file"):
        read_front(tmp_path)


def test_where_no_point_stayed_on_the_front_it_is_said_why() -> None:
    gone = tuple(replace(each, on_front=False, why="beyond bytes < 1") for each in front().points)
    with pytest.raises(GateError, match="has no points: trial 1 is beyond bytes < 1, trial 2"):
        picked(replace(front(), points=gone), HOME, (), "")


def test_without_a_file_the_command_that_writes_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file") as caught:
        read_front(tmp_path)
    assert "edgekiln search" in caught.value.hint


def test_the_command_tells_a_person_and_a_program(cli: Cli, stored: Path) -> None:
    told = cli("pick", stored, "--where", "latency<30us", "--by", "accuracy")
    assert told.exit_code == 0, told.output
    assert "trial 2: accuracy 90.00%, latency 20 µs, bytes 40,000 B" in told.stdout
    assert f"bundle: {stored.parent}/trial-2/resnet8-host.ekb" in told.stdout
    answer = json.loads(cli("pick", stored, "--by", "latency", "--json").stdout)
    assert answer["schema"] == "edgekiln.pick/1"
    assert answer["point"]["trial"] == 1
    refused = cli("pick", stored, "--where", "latency<1us")
    assert refused.exit_code == 11
    assert "the nearest, trial 1" in refused.output


def test_picking_waits_for_nothing_that_is_slow(stored: Path) -> None:
    program = (
        "import sys\n"
        f"sys.argv = ['edgekiln', 'pick', {str(stored)!r}]\n"
        "from edgekiln.compiler.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'tvm', 'onnx', 'onnxruntime', 'sklearn', 'PIL', 'optuna', 'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
