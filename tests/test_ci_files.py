"""The files for CI servers, held to the linters of their formats. Offline."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = (
    ".github/workflows/edgekiln.yml", ".github/workflows/test.yml", "examples/ci/github.yml",
)  # fmt: skip


def run(tool: str, *arguments: str) -> None:
    """Fails with what the linter says; skips where it is not installed."""
    path = f"{Path(sys.executable).parent}:{Path(sys.prefix) / 'bin'}"
    if not (program := shutil.which(tool, path=path) or shutil.which(tool)):
        pytest.skip(f"{tool} is not installed (extra dev)")
    done = subprocess.run(
        [program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.github-actions", ("action.yml",)),
        ("vendor.gitlab-ci", ("examples/ci/gitlab-ci.yml",)),
    ],
)
def test_they_are_what_their_schemas_say(schema: str, files: tuple[str, ...]) -> None:
    transform = ["--data-transform", "gitlab-ci"] if "gitlab" in schema else []
    run("check-jsonschema", "--builtin-schema", schema, *transform, *files)


def test_workflows_and_action_have_no_known_weakness() -> None:
    run("zizmor", "--offline", "--no-progress", "--quiet", *WORKFLOWS, "action.yml")


def test_the_dockerfile_is_sound() -> None:
    run("hadolint", "Dockerfile")


def test_the_hooks_for_commits_run_and_find_nothing(tmp_path: Path) -> None:
    """Those that take seconds: types and imports are looked at by CI in any case."""
    if find_spec("pre_commit") is None or not (ROOT / ".venv" / "bin" / "ruff").exists():
        pytest.skip("pre-commit is not installed (extra dev), or not in .venv")
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "run", "--all-files"],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "SKIP": "mypy,import-linter", "PRE_COMMIT_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Passed") == 3


def test_the_hooks_run_tools_whose_versions_are_pinned() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    tools = set(re.findall(r"entry: \.venv/bin/([\w-]+)", hooks))
    assert {"ruff", "mypy", "zizmor"} < tools
    for tool in tools - {"lint-imports"}:  # a contract holds or does not, whatever the version
        assert re.search(rf'"{tool}==[\d.]+"', pyproject), tool


def test_every_action_is_pinned_by_its_commit() -> None:
    files = [ROOT / "action.yml", *sorted((ROOT / ".github" / "workflows").glob("*.yml"))]
    used = [line for file in files for line in re.findall(r"uses: (.*)", file.read_text())]
    foreign = [line for line in used if not line.startswith("OWNER/")]
    assert len(foreign) > 10
    assert [x for x in foreign if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", x)] == []


def test_ci_and_the_workflow_install_the_same_packages() -> None:
    packages = (ROOT / ".ci" / "packages").read_text(encoding="utf-8").split()
    assert {"gcc-aarch64-linux-gnu", "qemu-user", "openssh-server"} < set(packages)
    for name in (".ci/run", ".github/workflows/test.yml"):
        assert "xargs -a .ci/packages" in (ROOT / name).read_text(encoding="utf-8")
