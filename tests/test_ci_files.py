"""The files for CI servers, held to the linters of their formats. Offline."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = (".github/workflows/edgekiln.yml", "examples/ci/github.yml")


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
