"""The best sensor of a machine, or the reason why there is none."""

import importlib
import subprocess
import sys

import pytest

from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.power.choice import AUTO, METERS, Unavailable, choose, detect
from edgekiln.runtime.power.meter import SensorError
from tests.runtime.power.user import nobody


@pytest.mark.parametrize("name", METERS)
def test_every_name_has_its_module(name):
    assert callable(importlib.import_module(METERS[name]).open_meter)


def test_without_a_sensor_every_reason_is_given(root):
    found = detect(root)
    assert isinstance(found, Unavailable)
    text = str(found)
    assert text.startswith("unavailable: ina3221: no INA3221 on an I2C bus; rpi5-pmic: ")
    for name in AUTO:
        assert f"{name}: no " in text


def test_the_whole_board_goes_before_the_cpu(root, sysfs, package):
    package(0, 1)
    assert detect(root).name == "rapl"
    sysfs("sys/class/hwmon/hwmon0", name="ina226", power1_input=1)
    assert detect(root).name == "hwmon"


def test_a_gpus_sensor_is_never_taken_for_a_cpu_program():
    assert "nvml" in METERS
    assert "nvml" not in AUTO


def test_permission_denied_on_every_sensor_is_explained(root, sysfs, package):
    files = [
        package(0, 1) / "energy_uj",
        sysfs("sys/class/hwmon/hwmon0", name="ina226", power1_input=1) / "power1_input",
        sysfs(
            "sys/class/power_supply/BAT0", type="Battery", status="Discharging", power_now=1
        ) / "power_now",
    ]  # fmt: skip
    jetson = sysfs(
        "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1", in1_label="VDD_IN", curr1_input=1
    )
    sysfs("sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1", in1_input=1)
    files += [jetson / "in1_input"]
    program = sysfs("usr/bin", vcgencmd="#!/bin/sh\n") / "vcgencmd"
    for file in (*files, program):
        file.chmod(0o400)
    with nobody():
        text = str(detect(root))
    assert text.startswith("unavailable: ")
    assert text.lower().count("permission denied") == 5
    assert "chmod a+r" in text


def test_a_sensor_asked_for_by_name_must_be_there(root):
    with pytest.raises(SensorError, match="no CPU package in /sys/class/powercap") as caught:
        choose("rapl", root)
    assert caught.value.exit_code == 12


def test_none_is_an_answer(root):
    assert str(choose("none", root)) == "unavailable: not asked for"


def test_a_misspelt_name_gets_a_suggestion(root):
    with pytest.raises(ConfigError, match="no power meter named 'rapi'") as caught:
        choose("rapi", root)
    assert caught.value.hint == "did you mean rapl?"


def test_a_detail_chooses_among_several(root, sysfs):
    sysfs("sys/class/hwmon/hwmon0", name="amdgpu", power1_input=1)
    assert choose("hwmon:amdgpu/power1", root).scope == "amdgpu/power1"


def test_power_needs_no_compiler():
    block = "import sys; sys.modules.update(dict.fromkeys(['torch', 'tvm', 'onnx', 'click']))"
    program = f"{block}; import edgekiln.runtime.power.choice"
    subprocess.run([sys.executable, "-c", program], check=True)
