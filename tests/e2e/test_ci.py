"""`edgekiln ci` as a CI server runs it: real models, real programs, processes that are killed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgekiln.compiler.ci.result import CiResult, read
from edgekiln.targets import detect, profile
from tests.e2e.ci_models import DATA, Flaw, classifier

TARGET = "x86-64-v3"
COMMAND = (sys.executable, "-c", "from edgekiln.compiler.cli import main; main()", "ci")
CONFIG = f"""
[defaults]
targets = ["{TARGET}"]
data = "{DATA}"
bench-seconds = 0.02
gates = {{ max-accuracy-drop = 1, max-arena-bytes = 4096, max-slowdown = 5 }}
[models.net]
model = "nets/net.onnx"
"""
CELL = f"net/{TARGET}/int8"

pytestmark = pytest.mark.skipif(
    not detect.runs_here(profile.load(TARGET)).fits, reason=f"this CPU does not run {TARGET}"
)


class Project:
    """A directory as a user has it, with a store of its own."""

    def __init__(self, home: Path, store: Path, hash_seed: int = 0) -> None:
        self.home = home
        self.env = {
            **os.environ, "EDGEKILN_STORE": str(store), "PYTHONHASHSEED": str(hash_seed),
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        (home / "nets").mkdir(parents=True)
        (home / "edgekiln.toml").write_text(CONFIG)
        self.model()

    def model(self, flaw: Flaw = "none") -> None:
        classifier(self.home / "nets" / "net.onnx", flaw)

    def set(self, old: str, new: str) -> None:
        path = self.home / "edgekiln.toml"
        path.write_text(path.read_text().replace(old, new))

    def ci(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments], cwd=self.home, env=self.env, check=False, timeout=300,
            capture_output=True, text=True,
        )  # fmt: skip

    def killed_after(self, seconds: float) -> bool:
        """Start a run and kill it and its processes, unless it is done before."""
        with subprocess.Popen(
            COMMAND, cwd=self.home, env=self.env, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return True
        return False

    @property
    def result(self) -> CiResult:
        return read(self.home / "dist")

    def failed(self) -> dict[str, int]:
        """Gate, or what failed → exit code."""
        found = {v.gate: v.exit_code for v in self.result.verdicts if v.failed}
        for cell in self.result.cells:
            if cell.failure:
                found[cell.failure.doing] = cell.failure.exit_code
        return found

    def lasting(self) -> Mapping[str, bytes]:
        """The files that must be the same on every run."""
        sums = (self.home / "dist" / "SHA256SUMS").read_text()
        names = [line.split()[1] for line in sums.splitlines()]
        files = {name: (self.home / "dist" / name).read_bytes() for name in (*names, "SHA256SUMS")}
        return files | {"edgekiln.lock": (self.home / "edgekiln.lock").read_bytes()}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A run from a cold store, which nothing is wrong with. Tests copy it."""
    home = tmp_path_factory.mktemp("sound")
    project = Project(home / "project", home / "store", hash_seed=1)
    done = project.ci()
    assert done.returncode == 0, done.stdout + done.stderr
    return project


@pytest.fixture
def project(sound: Project, tmp_path: Path) -> Project:
    """The same again, in another directory; what was built is in the store."""
    copy = Project(tmp_path / "project", Path(sound.env["EDGEKILN_STORE"]))
    shutil.copy(sound.home / "edgekiln.lock", copy.home)
    shutil.copytree(sound.home / "dist", copy.home / "before")
    copy.set("bench-seconds = 0.02", "bench-seconds = 0")
    return copy


def test_a_sound_project_gets_everything(sound: Project) -> None:
    bundle = f"net-{TARGET}-int8.ekb"
    assert sorted(path.name for path in (sound.home / "dist").iterdir()) == sorted(
        [
            bundle, f"{bundle}.cdx.json", f"{bundle}.intoto.json", "SHA256SUMS", "junit.xml",
            "report.html", "results.json", "summary.md",
        ]
    )  # fmt: skip
    (cell,) = sound.result.cells
    assert (cell.id, cell.failure) == (CELL, None)
    assert cell.score is not None
    assert cell.score.value > 0.9
    assert cell.check is not None
    assert (cell.check.where, cell.check.equal) == ("host", ("logits",))
    assert cell.check.layers
    assert cell.bench is not None
    assert [peer.engine for peer in cell.bench.peers] == ["onnxruntime int8"]
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=sound.home / "dist", check=False
    )
    assert checked.returncode == 0


def test_the_papers_name_the_bundle_and_what_it_was_made_from(sound: Project) -> None:
    dist = sound.home / "dist"
    (cell,) = sound.result.cells
    assert cell.build is not None
    digest = cell.build.targets[0].bundle_sha256
    statement = json.loads((dist / f"{cell.bundle}.intoto.json").read_text())
    assert statement["subject"] == [{"name": cell.bundle, "digest": {"sha256": digest}}]
    definition = statement["predicate"]["buildDefinition"]
    assert [stage["stage"] for stage in definition["externalParameters"]["stages"]] == [
        "input",
        "compile",
    ]
    names = [each["name"] for each in definition["resolvedDependencies"]]
    assert names[0] == "input (onnx-int8)"
    assert "apache-tvm" in names
    bom = json.loads((dist / f"{cell.bundle}.cdx.json").read_text())
    components = {component["name"]: component["type"] for component in bom["components"]}
    assert components["libmodel.so"] == "file"
    assert components["net"] == "machine-learning-model"


@pytest.mark.parametrize(
    ("flaw", "gate", "code"),
    [
        ("weights", "max-accuracy-drop", 6),
        ("arena", "max-arena-bytes", 11),
        ("float", "strict-int8", 11),
    ],
)
def test_a_regression_is_caught_by_its_gate(
    project: Project, flaw: Flaw, gate: str, code: int
) -> None:
    project.model(flaw)
    done = project.ci("--baseline", "before")
    assert (done.returncode, project.failed()) == (code, {gate: code}), done.stderr
    assert f"❌ `{CELL}` {gate}" in done.stdout
    assert (project.home / "dist" / f"net-{TARGET}-int8.ekb").exists()


def test_a_slower_program_is_caught_beyond_the_noise(project: Project) -> None:
    project.set("bench-seconds = 0", "bench-seconds = 0.05")
    project.set("max-arena-bytes = 4096", "max-arena-bytes = 65536")
    project.model("arena")  # a detour, which takes twice the time
    done = project.ci("--baseline", "before")
    assert (done.returncode, project.failed()) == (11, {"max-slowdown": 11}), done.stdout


def test_frozen_names_the_stage_that_differs(project: Project) -> None:
    assert project.ci("--frozen").returncode == 0
    path = project.home / "edgekiln.lock"
    lock = json.loads(path.read_text())
    compiled = next(stage for name, stage in lock["stages"].items() if name.startswith("compile"))
    compiled["options"]["batch"] = 2
    path.write_text(json.dumps(lock))
    done = project.ci("--frozen")
    assert (done.returncode, project.failed()) == (7, {"lock": 7})
    assert "stage compile: options.batch is 1, the lock says 2" in done.stderr + done.stdout
    assert json.loads(path.read_text()) == lock


def test_a_broken_cell_does_not_hide_the_others(project: Project) -> None:
    project.set("[models.net]", '[models.gone]\nmodel = "gone.onnx"\n[models.net]')
    done = project.ci("--json")
    assert done.returncode == 3
    result = json.loads(done.stdout)
    states = {cell["id"]: cell["failure"] for cell in result["cells"]}
    assert states[CELL] is None
    assert states[f"gone/{TARGET}/int8"]["message"] == "no such file: gone.onnx"


def test_a_damaged_artifact_in_the_store_is_made_again(project: Project, sound: Project) -> None:
    store = project.home.parent / "store"
    shutil.copytree(project.env["EDGEKILN_STORE"], store)
    project.env["EDGEKILN_STORE"] = "../store"  # relative to where the command is started
    (built,) = (cell.build for cell in sound.result.cells)
    assert built is not None
    key = (store / "index" / built.steps[-1].sha256).read_text()
    program = store / "objects" / key / "artifact.lib"
    content = bytearray(program.read_bytes())
    content[len(content) // 2] ^= 1
    program.write_bytes(content)
    assert project.ci("--frozen").returncode == 0
    assert project.lasting() == sound.lasting()
    assert bytes(content) != program.read_bytes()
    (cell,) = project.result.cells
    assert cell.build is not None
    assert "is damaged (wrong checksum): made again" in cell.build.steps[-1].remark


def test_a_store_that_cannot_be_written_is_named(project: Project) -> None:
    project.env["EDGEKILN_STORE"] = str(project.home / "edgekiln.toml")
    done = project.ci()
    assert (done.returncode, project.failed()) == (9, {"build": 9})
    assert f"the store {project.home}/edgekiln.toml cannot be written" in done.stderr


def test_without_a_baseline_or_config_it_says_what_to_do(project: Project) -> None:
    done = project.ci("--baseline", "git:HEAD")
    assert done.returncode == 3
    assert done.stderr.startswith("error: baseline git:HEAD: fatal: ")
    assert " hint: commit a run's results.json as edgekiln.results.json" in done.stderr
    done = project.ci("other.toml")
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "error: no such file: other.toml")


def test_the_baseline_can_be_a_commit(project: Project) -> None:
    shutil.copy(project.home / "before" / "results.json", project.home / "edgekiln.results.json")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(project.home)]
    for arguments in (["init", "-q"], ["add", "edgekiln.results.json"], ["commit", "-qm", "base"]):
        subprocess.run([*git, *arguments], check=True)
    done = project.ci("--baseline", "git:HEAD")
    assert done.returncode == 0, done.stderr
    assert "93.75% =" in done.stdout


def killed_at_random(sound: Project, tmp_path: Path, times: int) -> None:
    """Kill runs that begin with a cold store at random moments; the last one may finish."""
    draw = random.Random(times)
    (cell,) = sound.result.cells
    assert cell.build is not None
    length = sum(step.wall_s for step in cell.build.steps) + 5
    project = Project(tmp_path / "killed", tmp_path / "store", hash_seed=2)
    for _ in range(times):
        if not project.killed_after(draw.uniform(0.1, length)):
            shutil.rmtree(tmp_path / "store")
    done = project.ci()
    assert done.returncode == 0, done.stderr
    assert project.lasting() == sound.lasting()
    left = {path.name for path in project.home.iterdir()}
    assert left == {"nets", "edgekiln.toml", "edgekiln.lock", "dist"}


def test_a_killed_run_ends_in_the_same_bytes_in_another_place_and_store(
    sound: Project, tmp_path: Path
) -> None:
    killed_at_random(sound, tmp_path, times=3)


@pytest.mark.slow
def test_measuring_the_same_twenty_times_is_no_regression(project: Project) -> None:
    project.set("bench-seconds = 0", "bench-seconds = 0.2")
    for _ in range(20):
        done = project.ci("--baseline", "before", "--frozen", "--remeasure")
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_run_killed_fifty_times_ends_in_the_same_bytes(sound: Project, tmp_path: Path) -> None:
    killed_at_random(sound, tmp_path, times=50)
