"""A program for Arm on this machine: the runner that ships, around the toy, under QEMU."""

import shutil

import pytest

from edgekiln.runtime.device.example import check_example
from edgekiln.runtime.device.qemu import QemuDevice
from edgekiln.runtime.errors import BundleError
from tests.runtime import c_runner
from tests.runtime.conftest import FIXTURES

GCC = "aarch64-linux-gnu-gcc"
pytestmark = pytest.mark.skipif(
    shutil.which(GCC) is None or shutil.which("qemu-aarch64") is None,
    reason=f"{GCC} or qemu-aarch64 is not installed",
)


@pytest.fixture(scope="module")
def arm_runner(tmp_path_factory):
    """The runner, for a target that needs dot products."""
    home = tmp_path_factory.mktemp("arm")
    runner = c_runner.link(
        home, [FIXTURES / "model.c"], "-O1", "-static",
        cc=GCC, target="rpi5", features=["asimddp"],
    )  # fmt: skip
    return runner.read_bytes()


@pytest.fixture
def arm_bundle(checkable, arm_runner):
    return checkable(runner=arm_runner, machine="aarch64", target="rpi5")


def test_an_arm_program_computes_the_same_bits(arm_bundle):
    with QemuDevice("cortex-a76") as device:
        assert check_example(arm_bundle, device) == ("y",)


def test_a_cpu_without_the_features_is_refused_by_the_runner_itself(arm_bundle):
    with QemuDevice("cortex-a72") as device, pytest.raises(BundleError) as caught:
        check_example(arm_bundle, device)
    assert caught.value.message == "made for rpi5, qemu:cortex-a72 lacks asimddp"
    assert caught.value.exit_code == 8
