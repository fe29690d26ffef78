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


def on(monkeypatch: pytest.MonkeyPatch, flags: frozenset[str], machine: str = "x86_64") -> None:
    """Let this machine be another."""
    monkeypatch.setattr(host, "cpu_flags", lambda: flags)
    monkeypatch.setattr(platform, "machine", lambda: machine)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (V3, "x86-64-v3"),
        (VNNI, "x86-avx512-vnni"),
        (VNNI - {"avx512_vnni"}, "x86-64-v3"),
        (VBMI, "x86-avx512-vbmi"),
        (AMX, "x86-amx"),
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
