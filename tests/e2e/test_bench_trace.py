"""`edgekiln bench --trace`: a day of a program with two points, by its own executable."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgekiln.compiler.cli.group import edgekiln
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.package import PackageStage
from edgekiln.models import data as datasets
from edgekiln.runtime import load, replay
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.device import session
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.runtime.trace import MAX_SPANS
from tests.compiler import artifacts
from tests.compiler.nested_models import IMAGE
from tests.e2e.test_points import HOST, NAMES, Family

QUICK = ("--trials", "2", "--min-seconds", "0.05", "--power", "none")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    family = Family(tmp_path_factory.mktemp("trace"), HOST)
    path = family.program.with_suffix(".ekb")
    context = StageContext(target=family.target, scratch=path.parent)
    PackageStage().run(replace(artifacts.of(family.program), kind="lib"), path, context)
    return path


def bench(bundle: Path, home: Path, trace: str, *args: str) -> Result:
    (home / "day.csv").write_text(trace)
    command = ["bench", str(bundle), "--trace", str(home / "day.csv"), *QUICK, *args]
    return CliRunner().invoke(edgekiln, command)


def replayed(bundle: Path, home: Path, trace: str, *args: str) -> Any:
    result = bench(bundle, home, trace, "--json", *args)
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["schema"] == "edgekiln.trace/1"
    return data["replay"]


def test_every_run_is_counted_once_for_the_governor_and_for_each_point(
    bundle: Path, tmp_path: Path
) -> None:
    found = replayed(bundle, tmp_path, "time_s,runs\n0,30\n60,12\n")
    assert [each["name"] for each in found["strategies"]] == ["governor", *NAMES]
    for each in found["strategies"]:
        assert each["runs"] == sum(each["runs_at"]) == 42
        assert (each["timed_runs"], each["misses"]) == (0, 0)
        assert each["busy_s"] > 0
        assert each["energy_j"] is None
    governor, full, narrow = found["strategies"]
    assert (full["runs_at"], narrow["runs_at"]) == ([42, 0], [0, 42])
    # It begins with the cheapest, and takes the dearer one with the eighth choice.
    assert (governor["runs_at"], governor["switches"]) == ([35, 7], 1)
    macs = [each["macs"] for each in found["points"]]
    assert governor["macs"] == 35 * macs[0] + 7 * macs[1] < full["macs"]
    assert [span["governed_runs"] for span in found["spans"]] == [[23, 7], [12, 0]]


def test_deadlines_that_no_point_meets_are_missed_at_the_cheapest(
    bundle: Path, tmp_path: Path
) -> None:
    found = replayed(bundle, tmp_path, "time_s,runs,deadline_us\n0,20,3600000000\n1,20,1\n")
    governor, full, narrow = found["strategies"]
    assert [each["timed_runs"] for each in found["strategies"]] == [40, 40, 40]
    assert [each["misses"] for each in (governor, full, narrow)] == [20, 20, 20]
    assert governor["unfit"] == 20
    assert found["spans"][1]["governed_runs"] == [0, 20]
    assert found["spans"][0]["point_misses"] == [0, 0]


def test_heat_and_an_empty_battery_leave_the_cheapest_point(bundle: Path, tmp_path: Path) -> None:
    day = "time_s,runs,temperature_c,battery_percent\n0,20,20,100\n1,20,90,100\n2,20,20,4\n"
    policy = "warm-c=60,hot-c=80,low-percent=20,empty-percent=5,patience=1"
    found = replayed(bundle, tmp_path, day, "--policy", policy)
    assert [span["governed_runs"] for span in found["spans"]] == [[20, 0], [0, 20], [0, 20]]
    assert found["policy"]["hot_c"] == 80


def test_load_counts_as_time(bundle: Path, tmp_path: Path) -> None:
    quiet = replayed(bundle, tmp_path, "time_s,runs\n0,200\n")["strategies"][1]["busy_s"]
    loaded = replayed(bundle, tmp_path, "time_s,runs,load_percent\n0,200,99\n")
    assert loaded["strategies"][1]["busy_s"] > 5 * quiet  # a hundred times, on a quiet machine


def test_the_governors_score_is_the_points_mean_by_how_often_each_ran(
    bundle: Path, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    data = tmp_path / "data.npz"
    pictures = draw.normal(size=(100, 3, IMAGE, IMAGE)).astype(np.float32)
    np.savez(data, x=pictures, y=draw.integers(0, 10, 100))
    result = bench(
        bundle, tmp_path, "time_s,runs\n0,40\n", "--data", f"{data}?mean=0&std=1", "--json"
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    net = load(bundle)
    kept = datasets.load(str(data), 0).test
    for point, score in enumerate(report["scores"]):
        net.set_point(point)
        answers = np.concatenate([np.asarray(net(x[None])) for x in kept.x])
        assert score["n"] == len(kept.y)
        assert score["value"] == pytest.approx((answers.argmax(1) == kept.y).mean())
    runs = report["replay"]["strategies"][0]["runs_at"]
    values = [score["value"] for score in report["scores"]]
    assert sum(runs) == 40
    assert report["governed"]["value"] == pytest.approx(np.average(values, weights=runs))


def test_a_cascade_loses_no_more_than_was_allowed(bundle: Path, tmp_path: Path) -> None:
    net = load(bundle)
    draw = np.random.default_rng(1)
    pictures = draw.normal(size=(300, 3, IMAGE, IMAGE)).astype(np.float32)

    def told(point: int, samples: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        net.set_point(point)
        return np.concatenate([np.asarray(net(x[None])) for x in samples])

    # The dearest point is right in half of them.
    labels = np.where(np.arange(300) % 2, told(0, pictures).argmax(1), draw.integers(0, 10, 300))
    data = tmp_path / "data.npz"
    np.savez(data, x=pictures, y=labels)
    costs = tmp_path / "costs.h"
    command = [
        "bench", str(bundle), *QUICK, "--cascade", "0", "--data", f"{data}?mean=0&std=1",
        "--costs", str(costs), "--json",
    ]  # fmt: skip
    result = CliRunner().invoke(edgekiln, command)
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)["cascades"]
    assert (found["cheap"], found["dear"]) == (NAMES[1], NAMES[0])
    kept = datasets.load(str(data), 0)
    for split in (kept.val, kept.test):
        scores, alone = told(1, split.x), told(0, split.x).argmax(1) == split.y
        best, second = -np.sort(-scores, axis=1)[:, :2].T
        asked = ~(best - second >= np.float32(found["margin"]))
        right = np.where(asked, alone, scores.argmax(1) == split.y)
        if split is kept.val:
            assert right.mean() >= alone.mean()
    assert found["n"] == len(split.y)
    assert found["asked"] == pytest.approx(asked.mean())
    assert found["accuracy"] == pytest.approx(right.mean())
    assert found["dear_accuracy"] == pytest.approx(alone.mean())
    macs = [sum(layer.macs for layer in each.layers) for each in spec_of(bundle).every_point]
    assert found["work"] == pytest.approx(macs[1] / macs[0] + found["asked"])
    first, *_, last = found["curve"]
    assert (first["margin"], first["asked"], last["asked"]) == (0, 0, 1)
    assert [place["margin"] for place in found["curve"]] == sorted(
        {place["margin"] for place in found["curve"]}
    )
    assert f"{found['margin']!r}f, /* {NAMES[1]}" in costs.read_text()


def spec_of(bundle: Path) -> ProgramSpec:
    return ProgramFile.open(bundle).spec


def test_what_is_no_classifier_has_no_cascade(bundle: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    pictures = np.zeros((60, 3, IMAGE, IMAGE), np.float32)
    np.savez(data, x=pictures, y=np.zeros((60, 10), np.float32))
    command = ["bench", str(bundle), *QUICK, "--cascade", "1", "--data", f"{data}?task=regression"]
    result = CliRunner().invoke(edgekiln, command)
    assert result.exit_code == 2, result.output
    assert "only a classifier with one head can be sure" in result.output


def test_the_day_is_drawn_and_its_costs_are_c(bundle: Path, tmp_path: Path) -> None:
    page, costs = tmp_path / "day.html", tmp_path / "costs.h"
    result = bench(
        bundle, tmp_path, "time_s,runs,deadline_us\n0,20,1000000\n3600,20,900000\n", "--threads",
        "1", "--page", str(page), "--costs", str(costs),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    table = result.stdout
    for text in ("governor  0 (0.0%)", "2 spans over 60 min", "BUSY", f"wrote {page}"):
        assert text in table
    html = page.read_text()
    assert "The governor missed" in html
    assert html.count("<figure>") == 3  # points, misses, deadline: nothing else changes
    files = ProgramFile.open(bundle).files
    for name in ("model.h", "governor.h", "libmodel.a"):
        (tmp_path / name).write_bytes(files[name])
    (tmp_path / "main.c").write_text(
        '#include "costs.h"\nint main(void) { model_governor_t g;\n'
        "return model_governor_init(&g, &model_policy); }\n"
    )
    flags = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    command = ["gcc", *flags, "main.c", "libmodel.a", "-lm", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run(["./main"], cwd=tmp_path, check=True)


def test_costs_are_written_without_a_trace(bundle: Path, tmp_path: Path) -> None:
    costs = tmp_path / "costs.h"
    command = ["bench", str(bundle), *QUICK, "--costs", str(costs)]
    result = CliRunner().invoke(edgekiln, command)
    assert result.exit_code == 0, result.output
    assert "STRATEGY" not in result.stdout
    rows = re.findall(r"\{(\d+), (\d+), 0\}, /\* (\S+) \*/", costs.read_text())
    assert [name for _, _, name in rows] == list(NAMES)
    assert int(rows[0][1]) >= int(rows[1][1]) > 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--policy", "patience=3"), "--policy goes with --trace"),
        (("--page", "day.html"), "--page goes with --trace"),
        (("--data", "digits"), "--data goes with --trace"),
        (("--costs", "c.h", "--page", "day.html"), "--page goes with --trace"),
        (("--cascade", "1"), "--cascade goes with --data"),
        (("--costs", "c.h", "--point", "1"), "measure all points"),
        (("--costs", "c.h", "--profile"), "measure all points"),
    ],
)
def test_options_that_say_nothing_together_are_refused(
    bundle: Path, args: tuple[str, ...], message: str
) -> None:
    result = CliRunner().invoke(edgekiln, ["bench", str(bundle), *QUICK, *args])
    assert result.exit_code == 2
    assert message in result.output
    assert not Path("c.h").exists()


def test_a_program_of_one_point_has_no_day(tmp_path: Path) -> None:
    alone = Family(tmp_path, HOST).alone[0]
    result = bench(alone, tmp_path, "time_s\n0\n", "--page", str(tmp_path / "day.html"))
    assert result.exit_code == 2
    assert "has one operating point only" in result.output
    assert not (tmp_path / "day.html").exists()


def test_a_trace_of_more_than_a_day_is_refused(bundle: Path, tmp_path: Path) -> None:
    day = "time_s,runs\n" + "".join(f"{i},1000000000\n" for i in range(100))
    result = bench(bundle, tmp_path, day)
    assert result.exit_code == 2
    assert "100,000,000,000 runs, which take" in result.output


def test_a_board_can_send_what_becomes_of_the_longest_trace() -> None:
    """A number takes 24 bytes at most: what runs took, in ns, on a line of its own."""
    assert replay._MAX_NUMBERS * 24 < session.MAX_PRINTED
    replay._check_length(4, MAX_SPANS)
    with pytest.raises(ConfigError, match="3270 spans; with 16 points it may have 3269"):
        replay._check_length(16, 3270)


def test_the_runner_refuses_what_is_no_trace(bundle: Path, tmp_path: Path) -> None:
    runner = tmp_path / "runner"
    runner.write_bytes(ProgramFile.open(bundle).files["runner"])
    runner.chmod(0o755)
    head = "0 0 0 0 0 9 9 0 5 5 0 "
    for text, words in (
        ("", "cut short"), (head, "cut short"), (head + "1 0 0 0 100", "cut short"),
        (head + "1 0 0 0 100 100", "not a trace"), (head + "x", "not a trace"),
        ("0 0 0 0 0 5 5 0 9 9 0 1 0 0 0 100 0", "do not fall"),
    ):  # fmt: skip
        (tmp_path / "trace").write_text(text)
        command = ["./runner", "trace", "--trace", "trace"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (3, "")
        assert words in done.stderr
    done = subprocess.run(
        ["./runner", "trace", "--trace", "gone"], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "cannot read gone" in done.stderr


def test_threads_are_planned_for_every_point(bundle: Path, tmp_path: Path) -> None:
    found = replayed(bundle, tmp_path, "time_s,runs\n0,20\n", "--threads", "2")
    assert found["threads"] == 2
    assert found["strategies"][0]["runs"] == 20
