"""Detection: which profile fits a machine, and why not."""

import platform
from pathlib import Path

import pytest

from edgekiln.runtime import host
from edgekiln.runtime.errors import UnsupportedError
from edgekiln.targets import detect, profile
from edgekiln.targets.profile import Caches

V3 = frozenset(profile.load("x86-64-v3").features)
VNNI = frozenset(profile.load("x86-avx512-vnni").features)
VBMI = frozenset(profile.load("x86-avx512-vbmi").features)
AMX = frozenset(profile.load("x86-amx").features)


AVX_VNNI = frozenset(profile.load("x86-avx-vnni").features)
N100 = frozenset(profile.load("intel-n100").features)
A76 = frozenset(profile.load("rpi5").features)
NOBODY: frozenset[str] = frozenset()


def on(
    monkeypatch: pytest.MonkeyPatch,
    flags: frozenset[str],
    machine: str = "x86_64",
    identities: frozenset[str] = NOBODY,
) -> None:
    """Let this machine be another."""
    monkeypatch.setattr(host, "cpu_flags", lambda: flags)
    monkeypatch.setattr(host, "identities", lambda: identities)
    monkeypatch.setattr(platform, "machine", lambda: machine)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (V3, "x86-64-v3"),
        (VNNI, "x86-avx512-vnni"),
        (VNNI - {"avx512_vnni"}, "x86-64-v3"),
        (VBMI, "x86-avx512-vbmi"),
        (AMX, "x86-amx"),
        (AVX_VNNI, "x86-avx-vnni"),
        (N100, "x86-avx-vnni"),
    ],
)
def test_the_profile_that_uses_most_of_the_cpu_is_the_host(
    monkeypatch: pytest.MonkeyPatch, flags: frozenset[str], expected: str
) -> None:
    on(monkeypatch, flags)
    here = profile.load("host")
    assert (here.name, here.base) == ("host", expected)
    assert here.isa == profile.load(expected).isa
    assert here.tvm["num-cores"] == here.cores


@pytest.mark.parametrize(
    ("machine", "flags", "identities", "expected"),
    [
        ("x86_64", N100, {"GenuineIntel-6", "GenuineIntel-6-190"}, "intel-n100"),
        ("x86_64", N100, {"GenuineIntel-6", "GenuineIntel-6-151"}, "x86-avx-vnni"),
        ("x86_64", VBMI, {"AuthenticAMD-26", "AuthenticAMD-26-68"}, "zen5"),
        ("x86_64", VBMI, {"AuthenticAMD-25", "AuthenticAMD-25-97"}, "x86-avx512-vbmi"),
        ("aarch64", A76, {"raspberrypi,5-model-b", "brcm,bcm2712"}, "rpi5"),
        ("aarch64", A76, {"radxa,rock-5b", "rockchip,rk3588"}, "rk3588"),
        ("aarch64", A76, {"radxa,zero3w", "rockchip,rk3566"}, "rk3566"),
        ("aarch64", A76, {"fsl,imx93-11x11-evk", "fsl,imx93"}, "imx93"),
        ("aarch64", A76, {"nvidia,p3768", "nvidia,tegra234"}, "jetson-orin-cpu"),
        ("aarch64", A76, NOBODY, "neoverse-n1"),
        ("riscv64", frozenset("imafdcv"), {"spacemit,k1"}, "riscv64-rvv"),
        ("aarch64", frozenset({"fp", "asimd"}), {"fsl,imx8mp-evk", "fsl,imx8mp"}, "imx8mp"),
    ],
)
def test_a_chip_is_known_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    flags: frozenset[str],
    identities: frozenset[str],
    expected: str,
) -> None:
    on(monkeypatch, flags, machine, frozenset(identities))
    assert profile.load("host").base == expected


def test_of_two_kinds_of_cores_the_faster_ones_are_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The RK3588: four cores of one kind, then four with twice their capacity."""
    cpus = tmp_path / "sys/devices/system/cpu"
    for cpu in range(8):
        (cpus / f"cpu{cpu}" / "cache").mkdir(parents=True)
        (cpus / f"cpu{cpu}" / "cpu_capacity").write_text("530\n" if cpu < 4 else "1024\n")
        cache(cpus / f"cpu{cpu}" / "cache", 0, "2", "Unified", "128K" if cpu < 4 else "512K")
    (cpus / "online").write_text("0-7\n")
    assert host.fastest_cpus(tmp_path) == (4, 5, 6, 7)
    on(monkeypatch, A76, "aarch64", frozenset({"rockchip,rk3588"}))
    monkeypatch.setattr(host, "fastest_cpus", lambda: (4, 5, 6, 7))
    monkeypatch.setattr(detect, "CPUS", cpus)
    here = profile.load("host")
    assert (here.cores, here.tvm["num-cores"], here.caches.l2) == (4, 4, 512 << 10)


def test_where_all_cores_are_alike_every_one_counts(tmp_path: Path) -> None:
    cpus = tmp_path / "sys/devices/system/cpu"
    cpus.mkdir(parents=True)
    (cpus / "online").write_text("0-3,6\n")
    assert host.fastest_cpus(tmp_path) == (0, 1, 2, 3, 6)
    assert host.fastest_cpus(tmp_path / "nothing there") == ()


def test_the_first_missing_feature_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, VNNI - {"avx512_vnni"})
    fits = {fit.profile.name: fit for fit in detect.fits()}
    assert fits["x86-avx512-vnni"].missing == ("avx512_vnni",)
    assert set(fits["x86-avx512-vnni"].found) == VNNI - {"avx512_vnni"}
    assert fits["x86-64-v3"].fits


def test_a_machine_of_another_kind_fits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, AMX, "riscv64")
    with pytest.raises(UnsupportedError, match=r"no target profile fits this machine \(riscv64\)"):
        profile.load("host")


def cache(directory: Path, index: int, level: str, kind: str, size: str) -> None:
    entry = directory / f"index{index}"
    entry.mkdir()
    for name, value in (("level", level), ("type", kind), ("size", size)):
        (entry / name).write_text(f"{value}\n")


def test_cache_sizes_are_read_and_gaps_filled(tmp_path: Path) -> None:
    cache(tmp_path, 0, "1", "Data", "48K")
    cache(tmp_path, 1, "1", "Instruction", "32K")
    cache(tmp_path, 2, "2", "Unified", "2M")
    cache(tmp_path, 3, "3", "Unified", "")
    default = Caches(l1d=1, l2=2, l3=3)
    assert detect.read_caches(default, tmp_path) == Caches(l1d=48 << 10, l2=2 << 20, l3=3)
    assert detect.read_caches(default, tmp_path / "absent") == default
