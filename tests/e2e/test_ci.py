"""`edgekiln ci` as a CI server runs it: real models, real programs, regressions of every kind."""

import json
import shutil
import subprocess

import pytest

from edgekiln.targets import profile
from tests.e2e.ci_models import Flaw
from tests.e2e.ci_project import JOB, TARGET, Project

# gcc's -finstrument-functions calls it at the beginning of every function.
SLEEP = """
#ifndef __ASSEMBLER__
#include <time.h>
int nanosleep(const struct timespec *, struct timespec *); // which -std=c11 hides
#define QUIET __attribute__((weak, no_instrument_function))
QUIET void __cyg_profile_func_exit(void *function, void *caller) { (void)function; (void)caller; }
QUIET void __cyg_profile_func_enter(void *function, void *caller) {
    (void)function; (void)caller;
    nanosleep(&(struct timespec){.tv_nsec = 200000}, 0);
}
#endif
"""


def test_a_sound_project_gets_everything(sound: Project) -> None:
    bundle = f"net-{TARGET}-int8.ekb"
    assert sorted(path.name for path in (sound.home / "dist").iterdir()) == sorted(
        [
            bundle, f"{bundle}.cdx.json", f"{bundle}.intoto.json", "SHA256SUMS", "junit.xml",
            "report.html", "results.json", "summary.md",
        ]
    )  # fmt: skip
    (job,) = sound.result.jobs
    assert (job.id, job.failure) == (JOB, None)
    assert job.score is not None
    assert job.score.value > 0.9
    assert job.check is not None
    assert (job.check.where, job.check.equal) == ("host", ("logits",))
    assert job.check.layers
    assert job.bench is not None
    assert [peer.engine for peer in job.bench.peers] == ["onnxruntime int8"]
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=sound.home / "dist", check=False
    )
    assert checked.returncode == 0


def test_the_papers_name_the_bundle_and_what_it_was_made_from(sound: Project) -> None:
    dist = sound.home / "dist"
    (job,) = sound.result.jobs
    assert job.build is not None
    digest = job.build.targets[0].bundle_sha256
    statement = json.loads((dist / f"{job.bundle}.intoto.json").read_text())
    assert statement["subject"] == [{"name": job.bundle, "digest": {"sha256": digest}}]
    definition = statement["predicate"]["buildDefinition"]
    assert [stage["stage"] for stage in definition["externalParameters"]["stages"]] == [
        "input",
        "compile",
    ]
    names = [each["name"] for each in definition["resolvedDependencies"]]
    assert names[0] == "input (onnx-int8)"
    assert "apache-tvm" in names
    bom = json.loads((dist / f"{job.bundle}.cdx.json").read_text())
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
    assert f"❌ `{JOB}` {gate}" in done.stdout
    assert (project.home / "dist" / f"net-{TARGET}-int8.ekb").exists()


def test_a_slower_program_is_caught_beyond_the_noise(project: Project) -> None:
    project.set("bench-seconds = 0", "bench-seconds = 0.05")
    project.set("max-arena-bytes = 4096", "max-arena-bytes = 65536")
    project.model("arena")  # a detour, which takes much longer
    done = project.ci("--baseline", "before")
    assert (done.returncode, project.failed()) == (11, {"max-slowdown": 11}), done.stdout


def test_a_sleep_in_the_program_is_caught_and_not_hidden_by_what_is_remembered(
    project: Project,
) -> None:
    """Every C function of the program waits, so that nothing but its time changes."""
    slow = project.home / "slow.h"
    slow.write_text(SLEEP)
    flags = [
        *profile.load(TARGET).toolchain.cflags,
        "-finstrument-functions",
        "-include",
        str(slow),
    ]
    (project.home / "slow.toml").write_text(
        f'name = "{TARGET}"\nextends = "{TARGET}"\n[toolchain]\ncflags = {json.dumps(flags)}\n'
    )
    project.set(f'"{TARGET}"', '"slow.toml"')
    project.set("bench-seconds = 0", "bench-seconds = 0.05")
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


def test_a_broken_job_does_not_hide_the_others(project: Project) -> None:
    project.set("[models.net]", '[models.gone]\nmodel = "gone.onnx"\n[models.net]')
    done = project.ci("--json")
    assert done.returncode == 3
    result = json.loads(done.stdout)
    states = {job["id"]: job["failure"] for job in result["jobs"]}
    assert states[JOB] is None
    assert states[f"gone/{TARGET}/int8"]["message"] == "no such file: gone.onnx"


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


@pytest.mark.slow
def test_measuring_the_same_twenty_times_is_no_regression(project: Project) -> None:
    project.set("bench-seconds = 0", "bench-seconds = 0.2")
    for _ in range(20):
        done = project.ci("--baseline", "before", "--frozen", "--remeasure")
        assert done.returncode == 0, done.stdout
