"""This machine, and others emulated on it."""

import platform
import shutil
import time

import pytest

from edgekiln.runtime import bench, host
from edgekiln.runtime.device.example import check_example
from edgekiln.runtime.device.local import LocalDevice
from edgekiln.runtime.device.qemu import QemuDevice
from edgekiln.runtime.errors import (
    BundleError,
    ConfigError,
    MeasurementError,
    MismatchError,
    MissingToolError,
)

needs_qemu = pytest.mark.skipif(
    shutil.which(f"qemu-{platform.machine()}") is None, reason="QEMU's user mode is not installed"
)


def test_an_example_agrees_bit_by_bit(checkable):
    with LocalDevice() as device:
        assert check_example(checkable(), device) == ("y",)


def test_a_single_bit_is_noticed(checkable):
    with LocalDevice() as device, pytest.raises(MismatchError) as caught:
        check_example(checkable(wrong=True), device)
    assert "output 0 differs from example/output_0.bin in 1 of 12 bytes" in caught.value.message


def test_a_bundle_without_an_example_says_so(toy_bundle, toy_runner):
    with LocalDevice() as device, pytest.raises(BundleError, match=r"has no example/input_0\.bin"):
        check_example(toy_bundle(extra={"runner": toy_runner}), device)


def test_equal_contents_lie_in_one_file():
    with LocalDevice() as device:
        assert device.put(b"a") == device.put(b"a") != device.put(b"b")


def test_nothing_is_left_behind(checkable, tmp_path, monkeypatch):
    home = tmp_path / "tmp"
    home.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(home))
    with LocalDevice() as device:
        check_example(checkable(), device)
        assert list(home.iterdir())
    assert list(home.iterdir()) == []


@needs_qemu
def test_an_emulated_cpu_computes_the_same_bits(checkable):
    with QemuDevice() as device:
        assert check_example(checkable(), device) == ("y",)


@needs_qemu
def test_an_unknown_cpu_is_qemus_own_error(checkable):
    message = "unable to find CPU model 'i486sx-of-mine'"
    with QemuDevice("i486sx-of-mine") as device, pytest.raises(MeasurementError, match=message):
        check_example(checkable(), device)


def test_an_emulated_latency_is_not_reported(checkable):
    with pytest.raises(ConfigError) as caught:
        bench.bench(checkable(), device=QemuDevice())
    assert caught.value.message == "qemu:max emulates: its latency would mean nothing"


def test_a_missing_emulator_is_named_with_its_package(checkable, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with QemuDevice() as device, pytest.raises(MissingToolError) as caught:
        check_example(checkable(), device)
    assert caught.value.hint == "sudo apt-get install -y qemu-user"


def test_a_machine_that_qemu_does_not_emulate_is_refused(checkable):
    with QemuDevice() as device, pytest.raises(BundleError, match=r"made for m68k \(amiga\)"):
        check_example(checkable(machine="m68k", target="amiga"), device)


def test_a_program_that_hangs_is_ended_with_its_children():
    with LocalDevice() as device:
        script = device.put(b"#!/bin/sh\nsleep 60\n")
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            device.run([script], 0.2)
        assert time.monotonic() - start < 10


def test_a_result_names_its_device(checkable):
    result = bench.bench(checkable(), trials=1, min_seconds=0.02)
    assert result.device == "local"
    assert result.affinity == host.affinity()
