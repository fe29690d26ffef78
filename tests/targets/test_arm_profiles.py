"""Arm's profiles: what each promises is what its tools and its runner understand."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from edgekiln.compiler.environment import doctor, toolchain
from edgekiln.runtime.device.qemu import EMULATORS
from edgekiln.runtime.errors import MissingToolError
from edgekiln.targets import isa, profile

ARM = [
    target.name
    for target in map(profile.load, profile.names()[1:])
    if target.machine in ("aarch64", "armv7l") and not target.gpu
]
FEATURE = re.compile(r'\{"(\w+)", AT_HWCAP2?, \d+\}')


def test_the_arm_boards_of_the_edge_ship() -> None:
    assert {"generic-aarch64", "rpi3", "rpi4", "rpi5", "neoverse-n1", "neoverse-v1"} < set(ARM)
    assert {"jetson-orin-cpu", "android-arm64", "rpi2-armv7"} < set(ARM)
    assert {"rk3566", "imx93", "rk3588", "imx8mp"} < set(ARM)


@pytest.mark.parametrize("name", ARM)
def test_the_runner_can_check_every_feature(name: str) -> None:
    source = (files("edgekiln.runtime") / "c" / "cpu.c").read_text()
    known = set(FEATURE.findall(source))
    assert set(profile.load(name).features) <= known


@pytest.mark.parametrize("name", ARM)
def test_activations_are_signed_and_sums_have_four_lanes(name: str) -> None:
    mk = isa.load(profile.load(name).isa)
    assert mk.activation == "int8"
    assert mk.register_lanes == 4


@pytest.mark.parametrize("name", ARM)
def test_every_profile_names_an_emulator_and_its_packages(name: str) -> None:
    target = profile.load(name)
    assert target.machine in EMULATORS
    assert target.qemu_cpu
    assert "qemu-user" in target.toolchain.packages
    assert any(package.startswith("gcc-") for package in target.toolchain.packages)


@pytest.mark.parametrize(
    ("name", "page_bytes"),
    [("rpi3", 4096), ("rpi4", 4096), ("rpi5", 16384), ("android-arm64", 16384)],
)
def test_segments_are_aligned_to_the_boards_pages(name: str, page_bytes: int) -> None:
    assert f"-Wl,-z,max-page-size={page_bytes}" in profile.load(name).toolchain.ldflags


def test_a_missing_cross_compiler_is_named_with_its_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError) as error:
        toolchain.require(profile.load("rpi5"))
    assert error.value.message == "target rpi5: aarch64-linux-gnu-gcc is not installed"
    assert error.value.hint == (
        "sudo apt-get install -y gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
    )


def test_a_missing_emulator_is_named_and_stops_no_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    checks = {check.name: check for check in doctor.emulators()}
    users = {f"qemu-{machine}" for machine in ("aarch64", "arm", "riscv64", "x86_64")}
    assert set(checks) == {"qemu-system-arm", *users}
    for name, check in checks.items():
        package = "qemu-system-arm" if name == "qemu-system-arm" else "qemu-user"
        assert (check.status, check.found) == ("missing", "not installed")
        assert check.fix == f"sudo apt-get install -y {package}"
        assert not check.stops_the_build
