"""One cold run of `edgekiln ci` for all tests of it, and the chips that this machine may be."""

import shutil
import tarfile
from pathlib import Path

import pytest

from edgekiln.runtime import host
from edgekiln.targets import detect, profile
from tests import opencl
from tests.e2e.ci_project import TARGET, Project
from tests.e2e.compiled_models import residual_net


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A run from a cold store, which nothing is wrong with. Tests copy it."""
    if not detect.runs_here(profile.load(TARGET)).fits:
        pytest.skip(f"this CPU does not run {TARGET}")
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


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small residual network, for a GPU's `program`."""
    return residual_net(tmp_path_factory.mktemp("net") / "net.onnx")


@pytest.fixture(scope="module")
def unpacked(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of `program`, which the test's own module makes."""
    home = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(program) as archive:
        archive.extractall(home, filter="data")
    return home


@pytest.fixture(
    params=[
        "x86-64-v3",
        "x86-avx512-vnni",
        pytest.param(opencl.TARGET, marks=pytest.mark.slow),
    ]
)
def target(request: pytest.FixtureRequest) -> profile.TargetProfile:
    """A chip whose programs this machine runs: the narrower and the wider vectors of x86, a GPU."""
    loaded = profile.load(request.param)
    if loaded.gpu:
        opencl.require()
    if missing := set(loaded.features) - host.cpu_flags():
        pytest.skip(f"this CPU lacks {', '.join(sorted(missing))}")
    return loaded
