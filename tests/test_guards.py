"""Promises that no tool keeps for us."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edgekiln.compiler.build.recipe import stage_class
from edgekiln.compiler.build.stage_table import STAGES
from edgekiln.compiler.cli import group
from edgekiln.runtime import errors
from edgekiln.runtime.errors import EdgeKilnError
from edgekiln.targets import profile
from tests.source_tree import files

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("compiler", "targets", "runtime", "models", "benchmarks")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def error_classes() -> list[type[EdgeKilnError]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type)
        and issubclass(value, EdgeKilnError)
        and value is not EdgeKilnError
    ]


def test_the_packages_listed_are_the_packages_on_disk() -> None:
    found = {
        "edgekiln." + ".".join(path.parent.relative_to(ROOT).parts)
        for room in ROOMS
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert set(SETTINGS["tool"]["setuptools"]["packages"]) == found


SPECIAL_CODES = {0, 1, errors.EXIT_INTERRUPTED, errors.EXIT_PIPE, errors.EXIT_TERMINATED}


def test_every_error_has_an_exit_code_of_its_own() -> None:
    codes = [cls.exit_code for cls in error_classes()]
    assert len(set(codes)) == len(codes)
    assert SPECIAL_CODES.isdisjoint(codes)


def test_every_exit_code_is_documented_in_the_help() -> None:
    documented = {
        int(line.split()[0]) for line in group.EPILOG.splitlines() if line.strip()[:1].isdigit()
    }
    codes = {cls.exit_code for cls in error_classes()}
    assert documented == codes | SPECIAL_CODES


@pytest.mark.parametrize("name", profile.names())
def test_every_profile_loads(name: str) -> None:
    assert profile.load(name).name == name


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_has_its_class(name: str) -> None:
    cls = stage_class(name)
    assert cls.name == name
    assert cls.suffix.startswith(".")


def test_no_file_holds_both_sides_of_a_merge() -> None:
    marks = ("<" * 7 + " ", ">" * 7 + " ")
    left = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in files("")
        for line in path.read_bytes().decode(errors="replace").splitlines()
        if line.startswith(marks)
    ]
    assert left == []


# Downloads and build outputs are larger; the largest of ours, a page of results, has half of it.
MOST_BYTES = 1_000_000


def test_no_download_lies_among_the_sources() -> None:
    assert [path.name for path in files("") if path.stat().st_size > MOST_BYTES] == []


def run_python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_runtime_needs_numpy_and_nothing_else() -> None:
    modules = sorted(
        "edgekiln." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "runtime").rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    )
    blocked = ("torch", "tvm", "tvm_ffi", "onnx", "onnxruntime", "click", "rich", "sklearn", "PIL")
    run_python(
        "import sys, importlib\n"
        f"sys.modules.update(dict.fromkeys({blocked!r}))\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "assert not [n for n in sys.modules if n.startswith('edgekiln.') and '.runtime' not in n]"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["targets", "list"],
        ["build", "--help"],
        ["sweep", "--help"],
        ["search", "--help"],
        ["pick", "--help"],
        ["prune", "--help"],
    ],
)
def test_help_does_not_wait_for_torch(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        f"sys.argv = ['edgekiln', *{arguments!r}]\n"
        "from edgekiln.compiler.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'tvm', 'onnx', 'onnxruntime', 'sklearn', 'PIL', 'optuna'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    run_python(program)


def test_without_click_the_command_says_how_to_get_it() -> None:
    program = (
        "import sys\n"
        "sys.modules['click'] = None\n"
        "from edgekiln.compiler.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code)"
    )
    assert run_python(program) == "5\n"
