"""`edgekiln` on a farm of three boards, in processes of several users."""

import json
import os
import re
import select
import subprocess
import sys
from contextlib import ExitStack

import jsonschema
import pytest
from click.testing import CliRunner

from edgekiln.compiler.cli.documents import DOCUMENTS
from edgekiln.compiler.cli.group import edgekiln as group
from edgekiln.compiler.documents.json_schema import document_schema
from edgekiln.runtime.device.rpc import RpcDevice
from tests.runtime.device import farm

for module in ("tvm", "tornado", "psutil", "cloudpickle"):
    pytest.importorskip(module)

KEY = "boards-of-commands"


@pytest.fixture
def edgekiln(tmp_path):
    """Starts `edgekiln`, as a user has it; what still runs in the end is ended."""
    with ExitStack() as started:

        def start(*arguments, user="ana"):
            program = "import sys; sys.argv[0] = 'edgekiln'; from edgekiln.compiler import cli"
            process = subprocess.Popen(
                [sys.executable, "-c", f"{program}; cli.main()", *map(str, arguments)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
                env={**os.environ, "LOGNAME": user, "EDGEKILN_STORE": str(tmp_path / "store")},
            )  # fmt: skip
            started.callback(process.communicate)
            started.callback(process.kill)
            return process

        yield start


def bench(edgekiln, tracker, bundle, key, *, user="ana", seconds=0.2):
    where = f"rpc://127.0.0.1:{tracker}/{key}"
    options = ("--trials", 2, "--min-seconds", seconds, "--power", "none", "--json")
    return edgekiln("bench", bundle, "--device", where, *options, user=user)


def status(monkeypatch, folder, *options):
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(group, ["devices", "status", *options])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def next_said(process):
    """The next line of its stderr; nothing where it says none for long."""
    ready, _, _ = select.select([process.stderr], [], [], 20.0)
    return process.stderr.readline() if ready else ""


def wait_for_work(boards):
    farm.wait_until(lambda: any(board.children() for board in boards))
    return next(board for board in boards if board.children())


def test_a_run_says_what_it_waits_for_and_status_shows_it(
    monkeypatch, edgekiln, tracker, three_boards, checkable, tmp_path
):
    boards, bundle, place = three_boards(KEY), checkable(), f"127.0.0.1:{tracker}"
    (tmp_path / "devices.toml").write_text(
        f'[farm]\nurl = "rpc://127.0.0.1:{tracker}/{KEY}"\nboards = 4\n'
    )
    with ExitStack() as held:
        for _ in boards:
            held.enter_context(RpcDevice("127.0.0.1", tracker, KEY))
        runs, said = [], []
        for user in ("ana", "ben"):
            runs.append(bench(edgekiln, tracker, bundle, KEY, user=user))
            said.append(next_said(runs[-1]))  # before another one joins, or it would speak of two
        lines = status(monkeypatch, tmp_path)
        farms = json.loads(status(monkeypatch, tmp_path, "--tracker", place, "--json"))
    (answer, _), _ = [each.communicate(timeout=25) for each in runs]
    assert f"queue: next of 1 for {KEY}, 3 boards; at work: " in said[0]
    assert f"queue: place 2 of 2 for {KEY}, 3 boards; before: ana@" in said[1]
    assert json.loads(answer)["schema"] == "edgekiln.bench-set/2"  # and nothing else is there
    assert f"{KEY}: 3 boards: 3 busy, 1 missing of 4, 2 waiting\n" in lines
    assert re.search(rf"\n +1 +1 +ana@\S+ +bench {bundle.name} +[\d.]+ s\n", lines)
    jsonschema.validate(farms, document_schema("edgekiln.farms/1", DOCUMENTS["edgekiln.farms/1"]))
    (key,) = [each for each in farms["trackers"][0]["keys"] if each["key"] == KEY]
    assert [each["job"]["user"] for each in key["waiting"]] == ["ana", "ben"]
    assert str(tmp_path) not in lines + json.dumps(farms)


def test_a_board_that_dies_in_a_run_costs_one_line(edgekiln, tracker, three_boards, checkable):
    key = "boards-one-of-which-dies"
    boards = three_boards(key)
    run = bench(edgekiln, tracker, checkable(), key, seconds=2.0)
    dying = wait_for_work(boards)
    dying.process.kill()
    answer, said = run.communicate(timeout=28)
    assert run.returncode == 0, said
    (result,) = json.loads(answer)["results"]
    assert "replaced: a board was lost meanwhile" in result["warnings"][0]
    (line,) = said.splitlines()
    assert line.startswith(f"warning: rpc://127.0.0.1:{tracker}/{key}: board {dying.address}: ")
    assert line.endswith("; the run goes on on the next board that is free")


def test_when_all_boards_die_the_run_ends_with_one_error(
    edgekiln, tracker, three_boards, checkable
):
    key = "boards-all-of-which-die"
    boards = three_boards(key)
    run = bench(edgekiln, tracker, checkable(), key, seconds=5.0)
    wait_for_work(boards)
    for board in boards:
        board.process.kill()
    answer, said = run.communicate(timeout=28)
    assert (run.returncode, answer) == (13, "")
    *warnings, error, hint = said.splitlines()
    assert all(line.startswith("warning: ") for line in warnings)
    assert error.startswith(f"error: rpc://127.0.0.1:{tracker}/{key}: connection lost: tracker ")
    assert f"knows no board of key {key!r}" in error
    assert hint.startswith(" hint: ")
